package model

import (
	"fmt"
	"maps"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/actors/entity"
	"modelops/messages"
)

const (
	// replacePatience is how long a replacement may wait for memory before the degraded worker restarts alone.
	replacePatience = 30 * time.Second
	// replaceAgain is how long no further replacement is tried after one that failed.
	replaceAgain = time.Minute
)

// Replacement is the way of a degraded worker: another one is ready first, then the degraded one restarts, then the other one is removed.
type Replacement struct {
	Replica    string // whose worker is degraded: the model's own, or a replica's
	Attempt    uint64 // of the degraded worker
	Reason     string
	By         string // the further worker that takes its place; empty when there is no room for two
	Restarting bool   // the degraded worker restarts
	Order      uint64 // sequence of the decision that began this step
	SinceMS    int64
}

// restarted tells whether a report is of the replica that had to restart.
func (w *Replacement) restarted(replica string, order uint64) bool {
	return w != nil && w.Restarting && w.Replica == replica && w.Order == order
}

// replaceWorker asks for another worker in the place of a degraded one, for one at a time. A replica that is told so by its model restarts.
func replaceWorker(s State, c *messages.ReplaceWorker, at entity.Stamp) (entity.Verdict, error) {
	now, own := timestamppb.New(at.Now), c.Replica == s.ID.Name()
	_, known := s.Replicas[c.Replica]
	switch {
	case !s.declared():
		return entity.Verdict{}, NotFound(s.ID)
	case s.isReplica() && !own:
		return entity.Verdict{}, forReplica(s)
	case own && (c.Attempt != s.Attempt || !s.settledIn()):
		return stale()
	case s.isReplica():
		return entity.Facts(&messages.ModelDraining{Attempt: s.Attempt, Reason: c.Reason, At: now}), nil
	case s.Replacement != nil:
		return noted(fmt.Sprintf("a worker of %s is being replaced already", s.Replacement.Replica))
	case !s.Wanted, !own && !known:
		return stale()
	case own && s.Phase != Ready:
		return noted("it is " + s.Phase.String())
	case s.HeldMS > 0 && at.Now.UnixMilli()-s.HeldMS < replaceAgain.Milliseconds():
		return noted("no replacement could be had a moment ago; it is tried again after a minute")
	}
	return entity.Facts(&messages.WorkerDegraded{Replica: c.Replica, Attempt: c.Attempt, Reason: c.Reason, Replacement: s.freeName(), At: now}), nil
}

// preparing tells whether a report is of the worker that is to take the degraded one's place.
func (s State) preparing(replacement string) bool {
	return s.Replacement != nil && !s.Replacement.Restarting && s.Replacement.By == replacement
}

func replacementReady(s State, c *messages.ReportReplacementReady, now *timestamppb.Timestamp) (entity.Verdict, error) {
	if !s.preparing(c.Replica) {
		return stale()
	}
	v := entity.Facts(&messages.WorkerReplaced{Replica: s.Replacement.Replica, Replacement: c.Replica, At: now})
	v.Events = append(v.Events, s.restart(now)...)
	return v, nil
}

// replacementFailed leaves the degraded worker as it is, unless there was no room for two: then it restarts without another one in its place.
func replacementFailed(s State, c *messages.ReportReplacementFailed, at entity.Stamp) (entity.Verdict, error) {
	if !s.preparing(c.Replica) {
		return stale()
	}
	if waits(c.Error) && at.Now.UnixMilli()-s.Replacement.SinceMS < replacePatience.Milliseconds() {
		return noted("it may still find a place")
	}
	now := timestamppb.New(at.Now)
	v := entity.Facts(&messages.ReplacementFailed{Replica: s.Replacement.Replica, Replacement: c.Replica, Error: c.Error, At: now})
	if noRoom(c.Error) {
		v.Events = append(v.Events, s.restart(now)...)
	}
	return v, nil
}

func noRoom(e *messages.ErrorBody) bool { return e.GetCode() == messages.GPUUnavailable.String() }

// waits tells whether a replacement has no memory so far, and may still get it.
func waits(e *messages.ErrorBody) bool { return noRoom(e) && e.RetryAfterMs > 0 }

// restart drains the model's own worker when it is the degraded one and still the same. A replica is told to restart by owed work.
func (s State) restart(now *timestamppb.Timestamp) []proto.Message {
	if s.Replacement.Replica != s.ID.Name() || s.Replacement.Attempt != s.Attempt || !s.settledIn() {
		return nil
	}
	return []proto.Message{&messages.ModelDraining{Attempt: s.Attempt, Reason: "its worker doesn't do its work: " + s.Replacement.Reason, At: now}}
}

func evolveReplacement(s State, event proto.Message, sequence uint64) State {
	switch e := event.(type) {
	case *messages.WorkerDegraded:
		s.Replacement = &Replacement{Replica: e.Replica, Attempt: e.Attempt, Reason: e.Reason, By: e.Replacement, Order: sequence, SinceMS: e.At.AsTime().UnixMilli()}
		return s
	case *messages.WorkerReplaced:
		if r, ok := s.Replicas[e.Replacement]; ok {
			r.Settled = true
			s.Replicas = maps.Clone(s.Replicas)
			s.Replicas[e.Replacement] = r
		}
	case *messages.ReplacementFailed:
		if s.Replacement != nil && !noRoom(e.Error) {
			s.Replacement, s.HeldMS = nil, e.At.AsTime().UnixMilli()
		}
	}
	if s.Replacement != nil {
		w := *s.Replacement
		w.Restarting, w.Order = true, sequence
		if _, failed := event.(*messages.ReplacementFailed); failed {
			w.By = ""
		}
		s.Replacement = &w
	}
	return s
}

// withoutDegraded ends a replacement whose degraded worker, the model's own, exited before the other one was ready. A fresh worker is on its way
// then; the other one would only take its memory, for good where there is no room for two.
func (s State) withoutDegraded() State {
	if w := s.Replacement; w != nil && !w.Restarting && w.Replica == s.ID.Name() {
		s.Replacement = nil
	}
	return s
}

// replaced ends a replacement once the model's own worker is another one and ready.
func (s State) replaced() State {
	if w := s.Replacement; w != nil && w.Restarting && w.Replica == s.ID.Name() && s.Phase == Ready && s.Attempt > w.Attempt {
		s.Replacement = nil
	}
	return s
}
