package model

import (
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Phase is where the model is on its way to a worker and back.
type Phase string

const (
	Absent   Phase = "absent"
	Placing  Phase = "placing"
	Loading  Phase = "loading"
	Ready    Phase = "ready"
	Draining Phase = "draining"
	Stopping Phase = "stopping"
	Waiting  Phase = "waiting"
	Failed   Phase = "failed"
)

// State is what one model's journal says.
type State struct {
	ID        messages.ActorID
	Spec      *messages.ModelSpec
	Wanted    bool
	Reason    string // why it is wanted
	Phase     Phase
	Attempt   uint64
	Failures  int // in a row, without a time of health between
	Placement *messages.Placement
	Nonce     string
	Worker    *messages.Worker
	Measured  uint64 // bytes
	Slots     uint32
	StartedMS int64
	ReadyMS   int64
	LoadMS    int64
	RetryMS   int64 // pause before the next try, in phase waiting
	Force     bool
	Unsettled bool // the gpu actor hasn't heard the measured footprint
	// Returning holds leases of ended attempts that the gpu actor hasn't taken back.
	Returning []*messages.Placement
	Error     *messages.ErrorBody
	LogTail   []string
	Breaker   string
}

// New is a model that nobody has declared.
func New(id messages.ActorID) State { return State{ID: id, Phase: Absent, Breaker: "closed"} }

// resident tells whether a worker runs or is about to.
func (s State) resident() bool {
	switch s.Phase {
	case Loading, Ready, Draining, Stopping:
		return true
	}
	return false
}

// Evolve folds an event.
func Evolve(s State, event proto.Message, _ uint64) State {
	switch e := event.(messages.ModelEvent).(type) {
	case *messages.ModelDeclared:
		s.Spec = e.Spec
	case *messages.ModelWanted:
		s = wanted(s, e)
	case *messages.ModelUnwanted:
		s.Wanted, s.Reason = false, ""
		if !s.resident() {
			s.Phase, s.Error, s.Failures = Absent, nil, 0
		}
	case *messages.ModelLoadStarted:
		s.Phase, s.Placement, s.Nonce, s.StartedMS = Loading, e.Placement, e.Nonce, e.At.AsTime().UnixMilli()
		s.Worker, s.LogTail = nil, nil
	case *messages.WorkerStarted:
		s.Worker = e.Worker
	case *messages.ModelReady:
		s.Phase, s.Measured, s.Slots, s.LoadMS = Ready, e.MeasuredBytes, e.Slots, e.LoadMs
		s.ReadyMS, s.Error, s.Unsettled = e.At.AsTime().UnixMilli(), nil, true
	case *messages.LeaseSettled:
		s.Unsettled = false
	case *messages.ModelDraining:
		s.Phase, s.Force = Draining, e.Force
	case *messages.ModelDrained:
		s.Phase = Stopping
	case *messages.WorkerExited:
		s.LogTail = e.LogTail
		if s.Phase == Ready && !e.Unwitnessed {
			s.Failures = max(s.Failures, 1)
			if s.healthy(e.At.AsTime()) {
				s.Failures = 0
			}
		}
		s = ended(s)
	case *messages.LoadFailed:
		s.Failures++
		s.Error, s.RetryMS = e.Error, e.RetryMs
		s = ended(s)
		s.Phase = Failed
		if e.RetryMs > 0 {
			s.Phase = Waiting
		}
	case *messages.LeaseReturned:
		s.Returning = withoutAttempt(s.Returning, e.Attempt)
	case *messages.BreakerChanged:
		s.Breaker = e.State
	}
	return s
}

// healthyAfter is how long a worker must have been ready before its death counts as a first failure again.
const healthyAfter = time.Minute

func (s State) healthy(now time.Time) bool {
	return s.Phase == Ready && now.UnixMilli()-s.ReadyMS > healthyAfter.Milliseconds()
}

func wanted(s State, e *messages.ModelWanted) State {
	s.Wanted, s.Reason = true, e.Reason
	if !s.resident() {
		if s.Phase == Failed {
			s.Failures = 0
		}
		s.Phase, s.Attempt, s.Error = Placing, e.Attempt, nil
	}
	return s
}

// ended closes an attempt: its lease goes home, nothing of its worker is left.
func ended(s State) State {
	if s.Placement != nil {
		s.Returning = append(append([]*messages.Placement(nil), s.Returning...), s.Placement)
	}
	s.Placement, s.Worker, s.Nonce, s.Force, s.Unsettled = nil, nil, "", false, false
	s.Measured, s.Slots, s.ReadyMS, s.StartedMS, s.LoadMS = 0, 0, 0, 0, 0
	s.Phase, s.Breaker = Absent, "closed"
	return s
}

func withoutAttempt(in []*messages.Placement, attempt uint64) []*messages.Placement {
	var out []*messages.Placement
	for _, p := range in {
		if p.Attempt != attempt {
			out = append(out, p)
		}
	}
	return out
}

// View is the model as others see it.
func View(s State) proto.Message {
	return &messages.ModelView{
		Id: s.ID.String(), Host: s.ID.Host(), Name: s.ID.Name(), Phase: string(s.Phase), Wanted: s.Wanted, Attempt: s.Attempt,
		Spec: s.Spec, Placement: s.Placement, Worker: s.Worker, MeasuredBytes: s.Measured, ReadyMs: s.ReadyMS, LoadMs: s.LoadMS,
		Error: s.Error, Breaker: s.Breaker, Slots: s.Slots, LogTail: s.LogTail,
	}
}
