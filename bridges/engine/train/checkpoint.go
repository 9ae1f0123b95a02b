package train

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// A checkpoint is its mark, the length of its header, the header in JSON, of each parameter the values and both moments, and
// the SHA-256 of all that. It is written under another name, synced and renamed, so a name that is there is a whole file.
const (
	checkpointMark   = "modelops checkpoint 1\n"
	checkpointEnding = ".ckpt"
	maxHeader        = 16 << 20
)

// settings are what decides which file a run yields. A checkpoint continues only a run with the same. The names are those of the flags.
type settings struct {
	Base      string   `json:"base"` // SHA-256
	Data      string   `json:"data"` // SHA-256
	Method    string   `json:"method"`
	Steps     int      `json:"steps"`
	Batch     int      `json:"batch"`
	Micro     int      `json:"micro-batch"`
	LR        float64  `json:"lr"`
	Schedule  string   `json:"schedule"`
	Warmup    int      `json:"warmup"`
	Decay     float64  `json:"weight-decay"`
	Clip      float64  `json:"clip"`
	Rank      int      `json:"rank"`
	Alpha     float64  `json:"alpha"`
	Targets   []string `json:"targets"`
	Beta      float64  `json:"beta"`
	Seed      uint64   `json:"seed"`
	MaxLength int      `json:"max-length"`
}

// differs names the flags by which two runs differ.
func (s settings) differs(other settings) (flags []string) {
	a, b := reflect.ValueOf(s), reflect.ValueOf(other)
	for i := range a.NumField() {
		if x, y := a.Field(i).Interface(), b.Field(i).Interface(); !reflect.DeepEqual(x, y) {
			name := "--" + a.Type().Field(i).Tag.Get("json")
			if name == "--base" || name == "--data" {
				flags = append(flags, name+" (another file)")
			} else {
				flags = append(flags, fmt.Sprintf("%s (%v, here %v)", name, x, y))
			}
		}
	}
	return flags
}

// header is what a checkpoint says of itself. Position is how many rows of the data were learnt; with the seed it says which
// come next, so there is no other state of a generator of random numbers.
type header struct {
	Step     int      `json:"step"`
	Position int      `json:"position"`
	Settings settings `json:"settings"`
	Arrays   []array  `json:"arrays"`
}

type array struct {
	Name string `json:"name"`
	Len  int    `json:"len"`
}

func arraysOf(params []*param[float32]) (out []array) {
	for _, p := range params {
		out = append(out, array{p.name, len(p.w)})
	}
	return out
}

// checkpointSize is the size of a checkpoint in bytes, a little too large.
func checkpointSize(params []*param[float32]) int64 {
	n := int64(64 << 10)
	for _, p := range params {
		n += int64(len(p.w))*12 + int64(len(p.name)) + 32
	}
	return n
}

func writeCheckpoint(path string, h header, params []*param[float32]) (File, error) {
	h.Arrays = arraysOf(params)
	head, err := json.Marshal(h)
	if err != nil {
		return File{}, err
	}
	return replaceFile(path, func(to io.Writer) error {
		sum := sha256.New()
		w := io.MultiWriter(to, sum)
		_, err := w.Write(append(binary.LittleEndian.AppendUint32([]byte(checkpointMark), uint32(len(head))), head...))
		for _, p := range params {
			err = errors.Join(err, putValues(w, p.w), putValues(w, p.mean), putValues(w, p.vary))
		}
		if err == nil {
			_, err = to.Write(sum.Sum(nil))
		}
		return err
	})
}

// damagedError is a checkpoint that can't be read.
type damagedError struct{ path, reason string }

func (e *damagedError) Error() string {
	return fmt.Sprintf("%s: it is no whole checkpoint: %s", e.path, e.reason)
}

// readCheckpoint restores the parameters. Nothing is restored unless the whole file is as it was written, and from the same run.
func readCheckpoint(path string, want settings, params []*param[float32]) (header, error) {
	var h header
	f, err := os.Open(path)
	if err != nil {
		return h, fmt.Errorf("open checkpoint: %w", err)
	}
	defer f.Close()
	if err := verifyCheckpoint(f, &h); err != nil {
		return h, &damagedError{path, err.Error()}
	}
	if flags := h.Settings.differs(want); len(flags) > 0 {
		return h, wrong(path, "the checkpoint belongs to another run: %s", strings.Join(flags, ", ")).hint("run it with the flags of that run, or give --checkpoints another directory")
	}
	if !slices.Equal(h.Arrays, arraysOf(params)) || h.Step < 0 || h.Step > want.Steps || h.Position != h.Step*want.Batch {
		return h, &damagedError{path, "it isn't of this model"}
	}
	for _, p := range params {
		if err := errors.Join(takeValues(f, p.w), takeValues(f, p.mean), takeValues(f, p.vary)); err != nil {
			return h, fmt.Errorf("%s: %w", path, err)
		}
	}
	return h, nil
}

// verifyCheckpoint reads the header and checks the sum of the whole file; f stands at the first value afterwards.
func verifyCheckpoint(f io.ReadSeeker, h *header) error {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	const fixed = len(checkpointMark) + 4
	body := size - sha256.Size
	if body < int64(fixed) {
		return errors.New("it is too short")
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	sum, told := sha256.New(), make([]byte, sha256.Size)
	if _, err := io.CopyN(sum, f, body); err != nil {
		return err
	}
	if _, err := io.ReadFull(f, told); err != nil {
		return err
	}
	if !bytes.Equal(told, sum.Sum(nil)) {
		return errors.New("its checksum is wrong")
	}
	start := make([]byte, fixed)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.ReadFull(f, start); err != nil {
		return err
	}
	length := int64(binary.LittleEndian.Uint32(start[len(checkpointMark):]))
	if !bytes.HasPrefix(start, []byte(checkpointMark)) || length > maxHeader || length > body-int64(fixed) {
		return errors.New("it begins with something else")
	}
	head := make([]byte, length)
	if _, err := io.ReadFull(f, head); err != nil {
		return err
	}
	if err := json.Unmarshal(head, h); err != nil {
		return err
	}
	values := int64(0)
	for _, a := range h.Arrays {
		values += int64(a.Len)
	}
	if int64(fixed)+length+12*values != body {
		return errors.New("its length is wrong")
	}
	return nil
}

// shelf is the directory of a run's checkpoints.
type shelf struct {
	dir  string
	keep int
}

func (s shelf) path(step int) string {
	return filepath.Join(s.dir, fmt.Sprintf("step-%09d%s", step, checkpointEnding))
}

// steps lists the checkpoints that are there, the latest first. The beginnings of unfinished ones are removed.
func (s shelf) steps() (steps []int, err error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasSuffix(name, checkpointEnding+unfinished) {
			_ = os.Remove(filepath.Join(s.dir, name))
		}
		var step int
		if n, _ := fmt.Sscanf(name, "step-%d"+checkpointEnding, &step); n == 1 && s.path(step) == filepath.Join(s.dir, name) {
			steps = append(steps, step)
		}
	}
	slices.Sort(steps)
	slices.Reverse(steps)
	return steps, nil
}

// write adds a checkpoint, and then removes those that are older than the last few. Later ones, which a run has that was
// resumed from an earlier one, stay: they are written anew when it comes there.
func (s shelf) write(h header, params []*param[float32]) (File, error) {
	file, err := writeCheckpoint(s.path(h.Step), h, params)
	if err != nil {
		return file, fmt.Errorf("write checkpoint: %w", err)
	}
	steps, err := s.steps()
	if err != nil {
		return file, err
	}
	kept := 0
	for _, step := range steps {
		if step > h.Step {
			continue
		}
		if kept++; kept > s.keep {
			if err := os.Remove(s.path(step)); err != nil {
				return file, err
			}
		}
	}
	return file, nil
}
