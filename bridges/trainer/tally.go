package trainer

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"modelops/messages"
)

// tally is what a running attempt has said so far.
type tally struct {
	began     time.Time
	stopAsked bool

	said        bool // it reports by JSON lines
	step, total uint64
	metrics     map[string]float64
	artifacts   []*messages.Artifact
	done        bool
	failure     string // of its last error line
	final       bool   // the error stays, so another try is useless
	oom         bool
	odd         int    // lines that can't be believed
	lastWords   string // its last line that is no report
}

const (
	mostArtifacts  = 1000 // that one attempt can hand on
	longestWords   = 500
	fewOdd         = 5 // so many of what can't be believed are noted
	longestLogLine = 4 << 10
)

// Exit codes of which another try can't do better (sysexits.h, the shell), and the one by which a trainer asks to be run again.
const (
	exitUsage       = 64
	exitInput       = 65
	exitAgain       = 75
	exitNoExecution = 126
	exitNotFound    = 127
)

// line takes one line of the trainer's output.
func (r *running) line(line []byte, cut bool) {
	shown := line[:min(len(line), longestLogLine)]
	_, _ = r.out.Write(append(shown[:len(shown):len(shown)], '\n'))
	r.mu.Lock()
	defer r.mu.Unlock()
	said, ok := parseReport(line)
	if cut || !ok {
		if cut {
			r.doubt("a line longer than %d bytes was cut", longestLine)
		}
		if len(shown) > 0 {
			r.lastWords = string(shown[:min(len(shown), longestWords)])
		}
		r.oom = r.oom || saysOutOfMemory(r.lastWords)
		return
	}
	r.said = true
	r.report(said)
}

// doubt notes what can't be believed, the first times.
func (r *running) doubt(format string, args ...any) {
	r.odd++
	if r.odd <= fewOdd {
		r.note(fmt.Sprintf(format, args...))
	}
}

// report takes a report. r is locked.
func (r *running) report(x report) {
	if total, ok := count(x.Total); ok && total > 0 {
		r.total = total
	}
	switch x.Event {
	case "progress", "eval":
		r.progress(x)
	case "checkpoint":
		r.checkpoint(x)
	case "artifact":
		r.artifact(&artifact{x.Path, x.SHA256, x.Bytes})
	case "done":
		r.done = true
		if x.Artifact != nil {
			r.artifact(x.Artifact)
		}
		r.figures(x.Metrics)
	case "error":
		r.failure = x.Message[:min(len(x.Message), longestWords)]
		r.oom = r.oom || x.OOM || saysOutOfMemory(x.Message)
		r.final = x.Retriable != nil && !*x.Retriable
	}
}

// progress takes a sample. A step that goes back, or beyond the total, is not believed.
func (r *running) progress(x report) {
	step, ok := count(x.Step)
	switch {
	case x.Step != nil && !ok:
		r.doubt("it reports step %v, which is no step", *x.Step)
		return
	case x.Step == nil:
		step = r.step
	case step < r.step:
		r.doubt("it reports step %d after step %d", step, r.step)
		return
	case r.total > 0 && step > r.total:
		r.doubt("it reports step %d of %d", step, r.total)
		return
	}
	r.step = step
	r.figures(x.Metrics)
	s := Sample{AtMS: time.Now().UnixMilli(), Attempt: r.o.Attempt, Step: step, Total: r.total, Metrics: x.Metrics}
	if x.ETA != nil {
		s.ETA = *x.ETA
	}
	if err := r.curve.add(s); err != nil {
		r.doubt("a sample can't be kept: %v", err)
	}
}

// figures remembers the latest value of each figure.
func (r *running) figures(metrics map[string]float64) {
	if r.metrics == nil {
		r.metrics = map[string]float64{}
	}
	for name, value := range metrics {
		if _, known := r.metrics[name]; known || len(r.metrics) < mostFigures {
			r.metrics[name] = value
		}
	}
}

func (r *running) checkpoint(x report) {
	step, ok := count(x.Step)
	if !ok || x.Path == "" {
		r.doubt("it reports a checkpoint without step or path")
		return
	}
	r.record(record{Checkpoint: &checkpointSaid{Step: step, Path: r.absolute(x.Path), SHA256: x.SHA256}})
}

func (r *running) artifact(a *artifact) {
	if a.Path == "" || len(r.artifacts) >= mostArtifacts {
		r.doubt("it reports an artifact without a path, or more than %d of them", mostArtifacts)
		return
	}
	a.Path = r.absolute(a.Path)
	r.record(record{Artifact: a})
	r.artifacts = append(r.artifacts, &messages.Artifact{Path: a.Path, Sha256: a.SHA256, Bytes: a.Bytes})
}

// absolute is a path of the trainer, which works in the order's folder.
func (r *running) absolute(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(r.o.Dir, path)
}

// outcome says how the trainer ended.
func (r *running) outcome(state *os.ProcessState, overtime, killedForMemory bool) *messages.JobOutcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	code, words := ending(state)
	out := &messages.JobOutcome{ExitCode: code, Step: r.step, Total: r.total, Metrics: maps.Clone(r.metrics), Artifacts: r.artifacts}
	switch {
	case code == 0 && r.done, code == 0 && !r.said:
		out.End = messages.JobOutcome_done
	case overtime:
		out.End, out.Reason = messages.JobOutcome_overtime, fmt.Sprintf("it took longer than %s", time.Duration(r.o.WallMS)*time.Millisecond)
	case r.stopAsked, code == exitAgain && r.failure == "":
		out.End, out.Reason, out.Retriable = messages.JobOutcome_stopped, words, true
	case code == 0:
		out.End, out.Reason = messages.JobOutcome_broke, fmt.Sprintf("it ended at step %d of %d and never said that it was done", r.step, r.total)
		out.Retriable = true
	default:
		out.End, out.Reason = messages.JobOutcome_broke, words
		out.OutOfMemory = r.oom || killedForMemory
		out.Retriable = !r.final && code != exitInput && code != exitUsage && code != exitNotFound && code != exitNoExecution
		if said := r.failure; said != "" {
			out.Reason = said + " (" + words + ")"
		} else if r.lastWords != "" {
			out.Reason = words + "; its last words: " + r.lastWords
		}
	}
	return out
}

// ending is the exit code, 128+N after signal N, and the same in words.
func ending(state *os.ProcessState) (code int32, words string) {
	if state == nil {
		return -1, "its end can't be learnt"
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int32(status.Signal()), fmt.Sprintf("ended by signal %d (%s)", int(status.Signal()), status.Signal())
	}
	return int32(state.ExitCode()), fmt.Sprintf("exit code %d", state.ExitCode())
}
