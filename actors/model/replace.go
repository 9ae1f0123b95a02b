package model

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/actors/entity"
	"modelops/messages"
)

const (
	// replacePatience is how long a replacement may wait for a place before it is taken to have none.
	replacePatience = 30 * time.Second
	// replaceAgain is how long no further replacement is tried after one that couldn't be had.
	replaceAgain = time.Minute
)

// Swap is a worker that is up but doesn't do its work, on its way out.
type Swap struct {
	Replica     string // whose worker: the model's own, or a replica's
	Attempt     uint64
	Reason      string
	Replacement string // empty when there is no room for two
	Renewing    bool   // its turn has come: it drains and starts anew
	Order       uint64 // sequence of the decision that began the step
	SinceMS     int64
}

// renewed tells whether a report is of the replica that had to start anew.
func (w *Swap) renewed(replica string, order uint64) bool {
	return w != nil && w.Renewing && w.Replica == replica && w.Order == order
}

// replaceWorker looks for another worker in the place of one that doesn't do its work, one at a time. A replica that is told so by its
// model starts anew.
func replaceWorker(s State, c *messages.ReplaceWorker, at entity.Stamp) (entity.Verdict, error) {
	now, own := timestamppb.New(at.Now), c.Replica == s.ID.Name()
	_, mate := s.Crew[c.Replica]
	switch {
	case !s.declared():
		return entity.Verdict{}, NotFound(s.ID)
	case s.isReplica() && !own:
		return entity.Verdict{}, forReplica(s)
	case own && (c.Attempt != s.Attempt || !s.settledIn()):
		return stale()
	case s.isReplica():
		return entity.Facts(&messages.ModelDraining{Attempt: s.Attempt, Reason: c.Reason, At: now}), nil
	case s.Swap != nil:
		return noted(fmt.Sprintf("a worker of %s is being replaced already", s.Swap.Replica))
	case !s.Wanted, !own && !mate:
		return stale()
	case own && s.Phase != Ready:
		return noted("it is " + s.Phase.String())
	case s.HeldMS > 0 && at.Now.UnixMilli()-s.HeldMS < replaceAgain.Milliseconds():
		return noted("no replacement could be had a moment ago; it is tried again after a minute")
	}
	return entity.Facts(&messages.WorkerDegraded{Replica: c.Replica, Attempt: c.Attempt, Reason: c.Reason, Replacement: s.freeName(), At: now}), nil
}

// preparing tells whether a report is of the replacement that is waited for.
func (s State) preparing(replacement string) bool {
	return s.Swap != nil && !s.Swap.Renewing && s.Swap.Replacement == replacement
}

func replacementReady(s State, c *messages.ReportReplacementReady, now *timestamppb.Timestamp) (entity.Verdict, error) {
	if !s.preparing(c.Replica) {
		return stale()
	}
	v := entity.Facts(&messages.WorkerReplaced{Replica: s.Swap.Replica, Replacement: c.Replica, At: now})
	v.Events = append(v.Events, s.startAnew(now)...)
	return v, nil
}

// replacementFailed leaves the worker where it is, unless there was no room for two: then it starts anew without a replacement.
func replacementFailed(s State, c *messages.ReportReplacementFailed, at entity.Stamp) (entity.Verdict, error) {
	if !s.preparing(c.Replica) {
		return stale()
	}
	if waits(c.Error) && at.Now.UnixMilli()-s.Swap.SinceMS < replacePatience.Milliseconds() {
		return noted("it may still find a place")
	}
	now := timestamppb.New(at.Now)
	v := entity.Facts(&messages.ReplacementFailed{Replica: s.Swap.Replica, Replacement: c.Replica, Error: c.Error, At: now})
	if noRoom(c.Error) {
		v.Events = append(v.Events, s.startAnew(now)...)
	}
	return v, nil
}

func noRoom(e *messages.ErrorBody) bool { return e.GetCode() == messages.GPUUnavailable.String() }

// waits tells whether a replacement has no place so far, which may change.
func waits(e *messages.ErrorBody) bool { return noRoom(e) && e.RetryAfterMs > 0 }

// startAnew drains the model's own worker when it is the degraded one and still there. A replica's worker is told.
func (s State) startAnew(now *timestamppb.Timestamp) []proto.Message {
	if s.Swap.Replica != s.ID.Name() || s.Swap.Attempt != s.Attempt || !s.settledIn() {
		return nil
	}
	return []proto.Message{&messages.ModelDraining{Attempt: s.Attempt, Reason: "its worker doesn't do its work: " + s.Swap.Reason, At: now}}
}

func evolveSwap(s State, event proto.Message, sequence uint64) State {
	switch e := event.(type) {
	case *messages.WorkerDegraded:
		s.Swap = &Swap{Replica: e.Replica, Attempt: e.Attempt, Reason: e.Reason, Replacement: e.Replacement, Order: sequence, SinceMS: e.At.AsTime().UnixMilli()}
		return s
	case *messages.WorkerReplaced:
		if m, ok := s.Crew[e.Replacement]; ok {
			m.Settled = true
			s.Crew = with(s.Crew, e.Replacement, m)
		}
	case *messages.ReplacementFailed:
		if s.Swap != nil && !noRoom(e.Error) {
			s.Swap, s.HeldMS = nil, e.At.AsTime().UnixMilli()
		}
	}
	if s.Swap != nil {
		w := *s.Swap
		w.Renewing, w.Order = true, sequence
		if _, failed := event.(*messages.ReplacementFailed); failed {
			w.Replacement = ""
		}
		s.Swap = &w
	}
	return s
}

// backAgain ends a swap once the model's own worker is another one and ready.
func (s State) backAgain() State {
	if w := s.Swap; w != nil && w.Renewing && w.Replica == s.ID.Name() && s.Phase == Ready && s.Attempt > w.Attempt {
		s.Swap = nil
	}
	return s
}

func with(crew map[string]Mate, name string, m Mate) map[string]Mate {
	out := map[string]Mate{}
	for k, v := range crew {
		out[k] = v
	}
	out[name] = m
	return out
}
