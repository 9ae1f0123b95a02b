package trainer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"modelops/bridges/process"
	"modelops/messages"
)

// Samples are at most so many points of a job's curves behind a number.
func (t *Trainer) Samples(job string, after uint64, most int) ([]Sample, error) {
	file, err := os.Open(t.folder(job).metrics())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, messages.Errorf(messages.Unavailable, job, "its metrics can't be read: %w", err)
	}
	defer file.Close()
	all, err := readSamples(file)
	if err != nil {
		return nil, fmt.Errorf("metrics of %s: %w", job, err)
	}
	var out []Sample
	for _, s := range all {
		if s.N > after && len(out) < most {
			out = append(out, s)
		}
	}
	return out, nil
}

// lastPart is how much of the end of a file is read for its last sample, which is shorter.
const lastPart = 16 << 10

// Last is the latest sample of a job. It reads the end of the file only, because lists ask for it.
func (t *Trainer) Last(job string) (last Sample, ok bool) {
	file, err := os.Open(t.folder(job).metrics())
	if err != nil {
		return last, false
	}
	defer file.Close()
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return last, false
	}
	part := make([]byte, min(size, lastPart))
	if _, err := file.ReadAt(part, size-int64(len(part))); err != nil {
		return last, false
	}
	lines := bytes.Split(part, []byte("\n"))
	for _, line := range slices.Backward(lines) {
		var s Sample
		if json.Unmarshal(line, &s) == nil && s.N > 0 {
			return s, true
		}
	}
	return last, false
}

// ReadLog reads a part of the logs of a job's attempts, one behind the other.
func (t *Trainer) ReadLog(job, after string, lines int) (process.Part, error) {
	root := string(t.folder(job))
	if job == "" || filepath.Dir(root) != filepath.Clean(t.o.Dir) {
		return process.Part{}, nil
	}
	logs, err := filepath.Glob(filepath.Join(globbed(root), "attempt-*", "*.log"))
	if err != nil {
		return process.Part{}, err
	}
	slices.SortFunc(logs, func(a, b string) int { return attemptIn(a) - attemptIn(b) })
	return process.ReadIn(logs, func(path string) string { return filepath.Base(filepath.Dir(path)) }, after, lines)
}

// globbed is a path in which no character stands for others.
func globbed(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

func attemptIn(path string) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(filepath.Base(filepath.Dir(path)), "attempt-"))
	return n
}

// Copy copies a file or folder, and returns when the disk has the copy. One that is there from an earlier time is replaced.
func Copy(from, to string) error { return copyWhole(from, to) }

// Sum is the checksum of a file, or of all files of a folder, with their bytes.
func Sum(ctx context.Context, path string) (sha256 string, bytes uint64, err error) {
	return sum(ctx, path)
}

// measureEvery is how often a running attempt's memory is measured.
const measureEvery = 2 * time.Second

// peaks are the largest measured amounts of attempts, by nonce. They are lost with the daemon: what is measured afterwards counts alone.
type peaks struct {
	mu   sync.Mutex
	most map[string]uint64
}

func (p *peaks) saw(nonce string, bytes uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.most == nil {
		p.most = map[string]uint64{}
	}
	p.most[nonce] = max(p.most[nonce], bytes)
}

// of is what was seen of an attempt that has ended; it is asked for once more when its report was lost.
func (p *peaks) of(nonce string) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.most[nonce]
}

// measure measures an attempt's memory until ctx ends.
func (t *Trainer) measure(ctx context.Context, a Attempt, pid int64) {
	again := time.NewTicker(measureEvery)
	defer again.Stop()
	for {
		if bytes, err := t.o.Measure(ctx, a.Job, pid); err == nil && bytes > 0 {
			t.peaks.saw(a.Nonce, bytes)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}
