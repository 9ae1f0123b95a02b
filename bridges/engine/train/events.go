package train

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Reporter takes the events of a run.
type Reporter func(event any)

// Lines is a Reporter that writes one JSON object a line. A reader that has gone away is no reason to stop.
func Lines(w io.Writer) Reporter {
	return func(event any) {
		if b, err := json.Marshal(event); err == nil {
			_, _ = w.Write(append(b, '\n'))
		}
	}
}

// The events. T is seconds since the start of the process's run.
type (
	// StartEvent says what will be done. Total is steps; Params and Trainable are numbers of weights.
	StartEvent struct {
		Event      string  `json:"event"`
		T          float64 `json:"t"`
		PID        int     `json:"pid"`
		Method     string  `json:"method"`
		Total      int     `json:"total"`
		Params     int64   `json:"params"`
		Trainable  int64   `json:"trainable"`
		Rows       int     `json:"rows"`
		EvalRows   int     `json:"eval_rows"`
		Batch      int     `json:"batch"`
		Seed       uint64  `json:"seed"`
		Threads    int     `json:"threads"`
		DataSHA256 string  `json:"data_sha256"`
		BaseSHA256 string  `json:"base_sha256"`
	}
	// ProgressEvent is a step that is done. TokS counts the tokens that were read, since the start or resumption.
	ProgressEvent struct {
		Event   string             `json:"event"`
		T       float64            `json:"t"`
		Step    int                `json:"step"`
		Total   int                `json:"total"`
		Loss    float64            `json:"loss"`
		LR      float64            `json:"lr"`
		TokS    float64            `json:"tok_s"`
		EtaS    float64            `json:"eta_s"`
		RSSMB   int64              `json:"rss_mb"`
		Metrics map[string]float64 `json:"metrics,omitempty"`
	}
	// EvalEvent is how the held-out rows are answered: nats a token, and the share of answers that are exact.
	EvalEvent struct {
		Event string  `json:"event"`
		T     float64 `json:"t"`
		Step  int     `json:"step"`
		Scores
	}
	// CheckpointEvent is a checkpoint that is on the disk.
	CheckpointEvent struct {
		Event string  `json:"event"`
		T     float64 `json:"t"`
		Step  int     `json:"step"`
		File
		MS int64 `json:"ms"`
	}
	// StepEvent is "resumed" (Path is the checkpoint) or "stopped".
	StepEvent struct {
		Event string  `json:"event"`
		T     float64 `json:"t"`
		Step  int     `json:"step"`
		Total int     `json:"total"`
		Path  string  `json:"path,omitempty"`
	}
	// DoneEvent is the last line of a run, or of an evaluation, which has no artifact.
	DoneEvent struct {
		Event    string             `json:"event"`
		T        float64            `json:"t"`
		Step     int                `json:"step,omitempty"`
		Artifact *File              `json:"artifact,omitempty"`
		Metrics  map[string]float64 `json:"metrics"`
	}
	// MessageEvent is "error", the last line of a run that failed, or "warning".
	MessageEvent struct {
		Event   string `json:"event"`
		Message string `json:"message"`
		// Retriable is false of an error that another try can't mend: wrong flags, data or model.
		Retriable *bool `json:"retriable,omitempty"`
	}
)

// failed is the last line of a run that failed.
func failed(err error) MessageEvent {
	e := MessageEvent{Event: "error", Message: err.Error()}
	var input *InputError
	if errors.As(err, &input) || errors.Is(err, fs.ErrNotExist) {
		e.Retriable = new(false)
	}
	return e
}

// clock times a run.
type clock struct{ began time.Time }

func (c clock) t() float64 { return float64(time.Since(c.began).Milliseconds()) / 1000 }

// short keeps reports readable: seven digits are more than a float32 has.
func short(v float64) float64 {
	out, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 7, 64), 64)
	if err != nil {
		return v
	}
	return out
}

func shortened(m map[string]float64) map[string]float64 {
	for k, v := range m {
		m[k] = short(v)
	}
	return m
}

// residentMB is the most memory that the process had, in MiB.
func residentMB() int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Maxrss >> 10
}

func pid() int { return os.Getpid() }
