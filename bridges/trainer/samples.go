package trainer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

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
