package trainer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
)

// Sample is one point of a job's curves. Samples are kept in a file and never journaled.
type Sample struct {
	// N counts the job's samples from 1. After the file was thinned out, some numbers are missing.
	N       uint64 `json:"n"`
	AtMS    int64  `json:"at_ms"`
	Attempt uint64 `json:"attempt"`
	Step    uint64 `json:"step"`
	Total   uint64 `json:"total,omitempty"`
	// ETA is what the trainer says is left, in seconds; 0 = it doesn't say.
	ETA     float64            `json:"eta_s,omitempty"`
	Metrics map[string]float64 `json:"metrics,omitempty"`
}

// mostMetrics bounds the file of a job's samples, in bytes. A fuller one loses every second sample but the latest.
const mostMetrics = 4 << 20

// mostFigures bounds the figures of one sample.
const mostFigures = 64

// curve writes the samples of a job. One runner has it at a time.
type curve struct {
	path string
	file *os.File
	size int64
	last uint64
	most int64
}

func openCurve(path string) (*curve, error) {
	c := &curve{path: path, most: mostMetrics}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	c.file = f
	samples, err := readSamples(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if len(samples) > 0 {
		c.last = samples[len(samples)-1].N
	}
	if c.size, err = f.Seek(0, io.SeekEnd); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if c.size > 0 { // a line that a dead runner left unfinished must not swallow the next one
		_, err = f.Write([]byte("\n"))
		c.size++
	}
	return c, err
}

func (c *curve) add(s Sample) error {
	c.last++
	s.N = c.last
	for name := range s.Metrics {
		if len(s.Metrics) <= mostFigures {
			break
		}
		delete(s.Metrics, name)
	}
	line, err := json.Marshal(s)
	if err != nil {
		return err
	}
	n, err := c.file.Write(append(line, '\n'))
	c.size += int64(n)
	if err == nil && c.size > c.most {
		return c.thin()
	}
	return err
}

// thin drops every second sample of the file.
func (c *curve) thin() error {
	if _, err := c.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	samples, err := readSamples(c.file)
	if err != nil {
		return err
	}
	var kept bytes.Buffer
	for i, s := range samples {
		if i%2 == 0 || i == len(samples)-1 {
			line, err := json.Marshal(s)
			if err != nil {
				return err
			}
			kept.Write(append(line, '\n'))
		}
	}
	next, err := os.OpenFile(c.path+".next", os.O_CREATE|os.O_RDWR|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if _, err = next.Write(kept.Bytes()); err == nil {
		err = os.Rename(c.path+".next", c.path)
	}
	if err != nil {
		return errors.Join(err, next.Close())
	}
	_ = c.file.Close()
	c.file, c.size = next, int64(kept.Len())
	return nil
}

func (c *curve) close() error { return c.file.Close() }

// readSamples reads all whole lines; one that is no sample is passed over.
func readSamples(in io.Reader) (out []Sample, err error) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var s Sample
		if json.Unmarshal(lines.Bytes(), &s) == nil && s.N > 0 {
			out = append(out, s)
		}
	}
	return out, lines.Err()
}
