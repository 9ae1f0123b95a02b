package simulator

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// tally counts what happened, for people.
type tally struct {
	requests, answered, refused, pending int
	codes                                map[messages.Code]int
	waits                                []time.Duration
	loads, evictions, moves, oom         int
	busy                                 []float64 // byte-seconds of workers, by device
}

func (t *tally) came(*request) { t.requests++; t.pending++ }

func (t *tally) waited(w *World, r *request) {
	wait := w.elapsed - r.arrived
	t.waits = append(t.waits, wait)
	if len(t.waits) > 1<<20 { // enough for percentiles: forget every other one
		for i := range t.waits[:len(t.waits)/2] {
			t.waits[i] = t.waits[2*i]
		}
		t.waits = t.waits[:len(t.waits)/2]
	}
	if w.o.Faults == (Faults{}) && wait > w.Bound()+runLongest {
		w.violated("a request for %s waited %s, longer than the bound of %s", w.o.Models[r.model].Name, wait, w.Bound())
	}
}

func (t *tally) done(w *World, r *request) {
	t.pending--
	if r.code == 0 {
		t.answered++
		return
	}
	t.refused++
	if t.codes == nil {
		t.codes = map[messages.Code]int{}
	}
	t.codes[r.code]++
}

// passed adds the time that went by to the use of each device.
func (t *tally) passed(w *World, d time.Duration) {
	if t.busy == nil {
		t.busy = make([]float64, len(w.devices))
	}
	for _, k := range w.workers {
		for _, p := range k.parts {
			t.busy[p.device] += float64(p.bytes) * d.Seconds()
		}
	}
}

// Summary is a run in numbers. It is the same for the same options and steps.
type Summary struct {
	Seed           uint64         `json:"seed"`
	Steps          int            `json:"steps"`
	VirtualSeconds float64        `json:"virtual_seconds"`
	Decisions      uint64         `json:"decisions"`
	Requests       int            `json:"requests"`
	Answered       int            `json:"answered"`
	Refused        int            `json:"refused"`
	Codes          map[string]int `json:"refusals,omitempty"`
	Loads          int            `json:"swaps"` // workers started
	Evictions      int            `json:"evictions"`
	Moves          int            `json:"moves"` // of evicted models to another host
	OutOfMemory    int            `json:"out_of_memory"`
	Crashes        int            `json:"coordinator_crashes"`
	WaitP50MS      int64          `json:"wait_p50_ms"`
	WaitP99MS      int64          `json:"wait_p99_ms"`
	WaitMaxMS      int64          `json:"wait_max_ms"`
	BoundMS        int64          `json:"wait_bound_ms"` // when nothing goes wrong
	Utilisation    []float64      `json:"utilisation"`   // part of each device that workers held, over time
	Violation      string         `json:"violation,omitempty"`
}

// Summary tells what happened so far.
func (w *World) Summary() Summary {
	t := &w.tally
	s := Summary{Seed: w.o.Seed, Steps: w.steps, VirtualSeconds: w.elapsed.Seconds(), Decisions: w.sequence, Requests: t.requests, Answered: t.answered,
		Refused: t.refused, Loads: t.loads, Evictions: t.evictions, Moves: t.moves, OutOfMemory: t.oom, Crashes: w.boot, BoundMS: w.Bound().Milliseconds()}
	for c, n := range t.codes {
		if s.Codes == nil {
			s.Codes = map[string]int{}
		}
		s.Codes[c.String()] = n
	}
	if n := len(t.waits); n > 0 {
		sorted := slices.Sorted(slices.Values(t.waits))
		s.WaitP50MS, s.WaitP99MS, s.WaitMaxMS = sorted[n/2].Milliseconds(), sorted[n*99/100].Milliseconds(), sorted[n-1].Milliseconds()
	}
	for i, d := range w.devices {
		use := 0.0
		if w.elapsed > 0 && t.busy != nil {
			use = t.busy[i] / float64(d.capacity) / w.elapsed.Seconds()
		}
		s.Utilisation = append(s.Utilisation, use)
	}
	if w.broken != nil {
		s.Violation = w.broken.Error()
	}
	return s
}

// traced is how many of the last steps are told with a violation.
const traced = 40

// trace keeps the last steps, and formats them only when they are read.
type trace struct {
	said [traced]utterance
	n    int
}

type utterance struct {
	at     time.Duration
	format string
	args   []any
}

// say notes a step. args must not change afterwards.
func (u *universe) say(format string, args ...any) {
	u.told.said[u.told.n%traced] = utterance{u.elapsed, format, args}
	u.told.n++
}

func (t *trace) words() (out []string) {
	for i := max(t.n-traced, 0); i < t.n; i++ {
		u := t.said[i%traced]
		out = append(out, fmt.Sprintf("%12s  ", u.at.Round(time.Microsecond))+fmt.Sprintf(u.format, u.args...))
	}
	return out
}

func name(m proto.Message) string { return string(m.ProtoReflect().Descriptor().Name()) }

// told are the names of events, formatted when the trace is read.
type told []proto.Message

func (t told) String() string {
	out := ""
	for i, e := range t {
		if i > 0 {
			out += " "
		}
		out += name(e)
	}
	return out
}
