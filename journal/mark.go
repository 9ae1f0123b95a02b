package journal

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// mark is the high-water mark: a sequence that was acknowledged. It may lag the journal and must never lead it, so it is only
// written with sequences whose append was acknowledged, or that were seen on disk and then fsynced.
type mark struct {
	Host     string    `json:"host"`
	Sequence uint64    `json:"sequence"`
	BootID   string    `json:"boot_id"`
	At       time.Time `json:"at"`
}

const markFile = "mark.json"

// readMark returns found = false when there is none. A mark that can't be read is an error: without it a lost tail can't be told
// from a torn one.
func readMark(dir string) (m mark, found bool, err error) {
	b, err := os.ReadFile(filepath.Join(dir, markFile))
	if errors.Is(err, fs.ErrNotExist) {
		return m, false, nil
	}
	if err != nil {
		return m, false, err
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, false, err
	}
	return m, true, nil
}

// writeMark replaces the mark so that a crash leaves the old one or the new one.
func writeMark(dir string, m mark) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	next := filepath.Join(dir, markFile+".next")
	if err := writeSynced(next, append(b, '\n')); err != nil {
		return err
	}
	if err := os.Rename(next, filepath.Join(dir, markFile)); err != nil {
		return err
	}
	return syncPath(dir)
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncPath fsyncs a file or directory by name.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
