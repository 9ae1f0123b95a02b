package train

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"modelops/bridges/engine"
)

// File is one that was written whole: its path, SHA-256 and size.
type File struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
}

// NoRoomError is a disk that is too small for what a run will write.
type NoRoomError struct {
	Dir        string
	Need, Free int64
}

func (e *NoRoomError) Error() string {
	return fmt.Sprintf("%s: the disk is too small: %d bytes are needed and %d are free", e.Dir, e.Need, e.Free)
}

// unfinished is the end of the name of a file that isn't whole.
const unfinished = ".partial"

// replaceFile writes a file under another name, and gives it its own once it is on the disk: it is either whole or not there.
func replaceFile(path string, write func(w io.Writer) error) (File, error) {
	tmp := path + unfinished
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return File{}, err
	}
	defer os.Remove(tmp)
	defer f.Close()
	sum, size := sha256.New(), &counter{}
	w := bufio.NewWriterSize(io.MultiWriter(f, sum, size), 1<<20)
	if err := write(w); err != nil {
		return File{}, err
	}
	if err := errors.Join(w.Flush(), f.Sync(), f.Close(), os.Rename(tmp, path)); err != nil {
		return File{}, err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return File{}, err
	}
	defer dir.Close()
	return File{path, hex.EncodeToString(sum.Sum(nil)), size.n}, dir.Sync()
}

type counter struct{ n int64 }

func (c *counter) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	return len(b), nil
}

// room refuses a directory that isn't there, can't be written to, or is on a disk with less than need bytes free.
func room(flag, dir string, need int64) error {
	f, err := os.CreateTemp(dir, ".writable-*")
	if errors.Is(err, fs.ErrNotExist) {
		return wrong(flag, "there is no directory %s", dir)
	}
	if err != nil {
		return wrong(flag, "%v", err)
	}
	_ = f.Close()
	_ = os.Remove(f.Name())
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("free space of %s: %w", dir, err)
	}
	if free := int64(s.Bavail) * s.Bsize; free < need {
		return &NoRoomError{dir, need, free}
	}
	return nil
}

// sameDisk tells whether two directories share their free space. In doubt they do.
func sameDisk(a, b string) bool {
	var x, y unix.Stat_t
	return unix.Stat(a, &x) != nil || unix.Stat(b, &y) != nil || x.Dev == y.Dev
}

// hashFile is the SHA-256 of a file.
func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// putValues writes values in the byte order of all our files.
func putValues(w io.Writer, values []float32) error {
	var buf [4096]byte
	for len(values) > 0 {
		n := min(len(values), len(buf)/4)
		for i, v := range values[:n] {
			binary.LittleEndian.PutUint32(buf[4*i:], math.Float32bits(v))
		}
		if _, err := w.Write(buf[:4*n]); err != nil {
			return err
		}
		values = values[n:]
	}
	return nil
}

func takeValues(r io.Reader, values []float32) error {
	var buf [4096]byte
	for len(values) > 0 {
		n := min(len(values), len(buf)/4)
		if _, err := io.ReadFull(r, buf[:4*n]); err != nil {
			return err
		}
		for i := range n {
			values[i] = math.Float32frombits(binary.LittleEndian.Uint32(buf[4*i:]))
		}
		values = values[n:]
	}
	return nil
}

// Numbers of the GGUF format.
const (
	ggufMagic, ggufVersion = 0x46554747, 3
	ggufU32                = 4 // type of a value
	kindF32                = 0 // storage of a tensor, and general.file_type of a file that has no other
)

// gguf lays out the file of a model: all metadata as it was, but for the type of the tensors, which are float32 now.
type gguf struct {
	head  []byte
	align int64
	sizes []int64 // of the tensors, in bytes
}

func layout(w *engine.Weights) gguf {
	le := binary.LittleEndian
	g := gguf{align: 32}
	g.head = le.AppendUint32(le.AppendUint32(nil, ggufMagic), ggufVersion)
	g.head = le.AppendUint64(le.AppendUint64(g.head, uint64(len(w.Tensors))), uint64(len(w.Entries)))
	for _, e := range w.Entries {
		raw := e.Raw
		value := 8 + len(e.Key) + 4 // after the key and its length, and the type
		switch {
		case e.Key == "general.file_type":
			raw = le.AppendUint32(le.AppendUint32(raw[:8+len(e.Key):8+len(e.Key)], ggufU32), kindF32)
		case e.Key == "general.alignment" && len(raw) == value+4:
			g.align = int64(le.Uint32(raw[value:]))
		}
		g.head = append(g.head, raw...)
	}
	var offset int64
	for _, t := range w.Tensors {
		kind, size := uint32(kindF32), int64(len(t.Values))*4
		if t.Values == nil {
			kind, size = t.Kind, int64(len(t.Raw))
		}
		g.head = append(le.AppendUint64(g.head, uint64(len(t.Name))), t.Name...)
		g.head = le.AppendUint32(g.head, uint32(len(t.Dims)))
		for _, d := range t.Dims {
			g.head = le.AppendUint64(g.head, uint64(d))
		}
		g.head = le.AppendUint64(le.AppendUint32(g.head, kind), uint64(offset))
		g.sizes = append(g.sizes, size)
		offset += g.padded(size)
	}
	return g
}

func (g gguf) padded(n int64) int64 { return (n + g.align - 1) / g.align * g.align }

func (g gguf) size() int64 {
	n := g.padded(int64(len(g.head)))
	for _, size := range g.sizes {
		n += g.padded(size)
	}
	return n
}

// writeModel writes a model's present values as a GGUF file.
func writeModel(path string, weights *engine.Weights) (File, error) {
	g := layout(weights)
	return replaceFile(path, func(w io.Writer) error {
		pad := func(n int64) error {
			_, err := w.Write(make([]byte, g.padded(n)-n))
			return err
		}
		_, err := w.Write(g.head)
		err = errors.Join(err, pad(int64(len(g.head))))
		for i, t := range weights.Tensors {
			if err != nil {
				return err
			}
			if t.Values != nil {
				err = putValues(w, t.Values)
			} else {
				_, err = w.Write(t.Raw)
			}
			err = errors.Join(err, pad(g.sizes[i]))
		}
		return err
	})
}

// lock makes a directory this process's until unlock, or its end: two runs would write and remove each other's checkpoints.
func lock(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, wrong("--checkpoints", "%v", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, &BusyError{dir}
	}
	return func() { _ = f.Close() }, nil
}

// BusyError is a directory of checkpoints that another process writes to.
type BusyError struct{ Dir string }

func (e *BusyError) Error() string { return e.Dir + ": another run writes its checkpoints there" }
