package model

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/actors/entity"
	"modelops/messages"
)

const (
	// dormantLeast is what a sleeping worker holds at least: the rest of its engine is never nothing.
	dormantLeast = messages.MiB
	// napAgain is how long a worker that didn't fall asleep is left alone.
	napAgain = 5 * time.Minute
)

// napping tells whether the worker is on its way to sleep, sleeps or wakes up.
func (s State) napping() bool { return s.Phase == Dozing || s.Phase == Asleep || s.Phase == Waking }

// settledIn tells whether a worker is up, awake or not: it can be drained.
func (s State) settledIn() bool { return s.Phase == Ready || s.napping() }

// full is what the worker holds when it is awake, in bytes.
func (s State) full() uint64 {
	if s.Measured > 0 {
		return s.Measured
	}
	return s.Placement.GetBytes()
}

// sleep puts an idle worker to sleep. Who is being replaced stays awake.
func (r Rules) sleep(s State, c *messages.SleepModel, at entity.Stamp) (entity.Verdict, error) {
	switch {
	case !s.declared():
		return entity.Verdict{}, NotFound(s.ID)
	case r.CanSleep == nil || !r.CanSleep(s.Spec):
		return entity.Verdict{}, messages.NewError(messages.Unsupported, s.ID.String(), "its engine can't sleep").
			WithHint("vllm sleeps with --enable-sleep-mode among its args, llama.cpp with --sleep-idle-seconds")
	case s.Phase == Dozing, s.Phase == Asleep:
		return noted("already " + string(s.Phase))
	case s.Phase != Ready:
		return entity.Verdict{}, messages.Errorf(messages.FailedPrecondition, s.ID.String(), "only a ready model falls asleep; it is %s", s.Phase)
	case s.Swap != nil:
		return noted("a worker of it is being replaced")
	case s.NapFailedMS > 0 && at.Now.UnixMilli()-s.NapFailedMS < napAgain.Milliseconds():
		return noted("it didn't fall asleep a while ago and is left alone for now")
	}
	return entity.Facts(&messages.ModelDozing{Attempt: s.Attempt, Reason: c.Reason, At: timestamppb.New(at.Now)}), nil
}

// asleep notes what the sleeping worker still holds.
func asleep(s State, c *messages.ReportAsleep, now *timestamppb.Timestamp) (entity.Verdict, error) {
	if c.Attempt != s.Attempt || s.Phase != Dozing && (s.Phase != Waking || s.Dozed) {
		return stale()
	}
	bytes := max(min(max(c.Bytes, dormantLeast), s.full()), 1)
	return entity.Facts(&messages.ModelAsleep{Attempt: s.Attempt, Bytes: bytes, At: now}), nil
}

func awake(s State, c *messages.ReportAwake, now *timestamppb.Timestamp) (entity.Verdict, error) {
	if c.Attempt != s.Attempt || s.Phase != Waking || !s.Dozed {
		return stale()
	}
	return entity.Facts(&messages.ModelAwake{Attempt: s.Attempt, At: now}), nil
}

// napFailed: who doesn't fall asleep is woken, to be sure. Who doesn't wake up, or has no room to, is stopped and seeks a place anew.
func napFailed(s State, c *messages.ReportNapFailed, now *timestamppb.Timestamp) (entity.Verdict, error) {
	waking := s.Phase == Waking && s.Dozed
	if c.Attempt != s.Attempt || s.Phase != Dozing && s.Phase != Waking || c.Waking != waking {
		return stale()
	}
	why := c.Error.GetMessage()
	if waking {
		return entity.Facts(&messages.ModelDraining{Attempt: s.Attempt, Reason: "it doesn't wake up: " + why, At: now}), nil
	}
	return entity.Facts(&messages.ModelWaking{Attempt: s.Attempt, Reason: "it doesn't fall asleep: " + why, Error: c.Error, At: now}), nil
}

// evolveNap folds what happens to a sleeper.
func evolveNap(s State, event proto.Message) State {
	switch e := event.(type) {
	case *messages.ModelDozing:
		s.Phase, s.Dozed, s.Dormant = Dozing, false, 0
	case *messages.ModelAsleep:
		s.Dozed, s.Dormant = true, e.Bytes
		if s.Phase == Dozing {
			s.Phase, s.Unsettled = Asleep, true // the ledger hears that it holds less
		}
	case *messages.ModelWaking:
		s.Phase = Waking
		if e.Error != nil {
			s.Dozed, s.NapFailedMS = true, e.At.AsTime().UnixMilli()
		}
	case *messages.ModelAwake:
		s.Phase, s.Dozed, s.Dormant, s.Unsettled = Ready, false, 0, true
	}
	return s
}

// owedNap is the work of a worker that sleeps or is on its way. The ledger is never told two amounts at a time: they could arrive in
// either order.
func owedNap(s State) []entity.Effect {
	out := []entity.Effect{watch{s.Worker, s.Attempt}}
	switch {
	case s.Unsettled && s.Dormant > 0:
		return append(out, shrink{s.Placement, s.Dormant})
	case s.Unsettled:
		return append(out, settle{s.Placement, s.Measured})
	case s.Phase == Waking && s.Dozed:
		return append(out, wake{s.Spec, s.Worker, s.Placement, s.full()})
	case s.Phase != Asleep:
		return append(out, doze{s.Spec, s.Worker, s.ID, s.Attempt})
	}
	return out
}
