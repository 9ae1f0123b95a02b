package trainer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"modelops/bridges/process"
	"modelops/messages"
)

// order is what a runner has to do. It may hold secrets that a command names, so only its owner can read it.
type order struct {
	Job     string `json:"job"`
	Attempt uint64 `json:"attempt"`
	// Argv is the trainer; of a run at an existing engine, what submits it.
	Argv []string `json:"argv"`
	Dir  string   `json:"dir,omitempty"`
	// Checkpoint is how the trainer is asked for a checkpoint: signal, stdin or none.
	Checkpoint string `json:"checkpoint,omitempty"`
	// WallMS ends the attempt; 0 = no bound.
	WallMS  int64  `json:"wall_ms,omitempty"`
	GraceMS int64  `json:"grace_ms"`
	Metrics string `json:"metrics"` // the file of the samples
	Out     string `json:"out"`
	// CPUs and MemoryBytes are limits of a cgroup; 0 = none.
	CPUs        float64 `json:"cpus,omitempty"`
	MemoryBytes uint64  `json:"memory_bytes,omitempty"`
	// Watch and Cancel belong to a run at an existing engine; ${ATTACHED_ID} in them is its id.
	Attached bool     `json:"attached,omitempty"`
	Watch    []string `json:"watch,omitempty"`
	Cancel   []string `json:"cancel,omitempty"`
}

// Names of the files in an attempt's folder, and in the job's.
const (
	orderFile   = "order.json"
	reportsFile = "reports.jsonl"
	exitFile    = "exit.json"
	lockFile    = "lock"
	idFile      = "attached_id" // of a run at an existing engine, in the job's folder
	metricsFile = "metrics.jsonl"
)

// folder is where a job's files lie.
type folder string

func (f folder) attempt(n uint64) string {
	return filepath.Join(string(f), fmt.Sprintf("attempt-%d", n))
}

// newLog is where the runner of an attempt writes to. Its name holds the nonce: by that what a dead process left behind is told from another one's.
func (f folder) newLog(n uint64, nonce string) string {
	return process.Logs{Root: string(f)}.Path(filepath.Base(f.attempt(n)), nonce, time.Now())
}

// log is the attempt's log; empty = it has none.
func (f folder) log(n uint64) string {
	return process.Logs{Root: string(f)}.Newest(filepath.Base(f.attempt(n)))
}

func (f folder) checkpoints() string { return filepath.Join(string(f), "checkpoints") }
func (f folder) kept() string        { return filepath.Join(string(f), "kept") }
func (f folder) out() string         { return filepath.Join(string(f), "out") }
func (f folder) metrics() string     { return filepath.Join(string(f), metricsFile) }

// copies are the verified checkpoints that are kept, by their steps.
func (f folder) copies() map[uint64]string {
	entries, _ := os.ReadDir(f.kept())
	out := map[uint64]string{}
	for _, e := range entries {
		if step, err := strconv.ParseUint(e.Name(), 10, 64); err == nil {
			out[step] = filepath.Join(f.kept(), e.Name())
		}
	}
	return out
}

// readJSON reads a small file; found is false when there is none.
func readJSON(path string, v any) (found bool, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return false, messages.Errorf(messages.Unavailable, path, "it can't be read: %w", err)
	}
	return true, nil
}

// writeJSON puts a small file in place as a whole, and returns when the disk has it.
func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	next := path + ".next"
	f, err := os.OpenFile(next, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder has the disk keep the names of a folder's files.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func millis(d time.Duration) int64 { return d.Milliseconds() }
