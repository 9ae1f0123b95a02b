package model

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/actors/entity"
	"modelops/messages"
)

const (
	// sleepLeast is what a sleeping worker counts with at least, in bytes: its process always holds something.
	sleepLeast = messages.MiB
	// sleepAgain is how long a worker that didn't fall asleep is left alone.
	sleepAgain = 5 * time.Minute
)

// sleeping tells whether the worker is on its way to sleep, sleeps or wakes up.
func (s State) sleeping() bool {
	return s.Phase == FallingAsleep || s.Phase == Asleep || s.Phase == Waking
}

// settledIn tells whether a worker is up, awake or not: it can be drained.
func (s State) settledIn() bool { return s.Phase == Ready || s.sleeping() }

// full is what the worker holds when it is awake, in bytes.
func (s State) full() uint64 {
	if s.Measured > 0 {
		return s.Measured
	}
	return s.Placement.Bytes()
}

// sleep puts an idle worker to sleep. One that is being replaced stays awake.
func (r Rules) sleep(s State, c *messages.SleepModel, at entity.Stamp) (entity.Verdict, error) {
	switch {
	case !s.declared():
		return entity.Verdict{}, NotFound(s.ID)
	case r.CanSleep == nil || !r.CanSleep(s.Spec):
		return entity.Verdict{}, messages.NewError(messages.Unsupported, s.ID.String(), "its engine can't sleep").
			WithHint("vllm sleeps with --enable-sleep-mode among its args, llama.cpp with --sleep-idle-seconds")
	case s.Phase == FallingAsleep, s.Phase == Asleep:
		return noted("already " + s.Phase.String())
	case s.Phase != Ready:
		return entity.Verdict{}, messages.Errorf(messages.FailedPrecondition, s.ID.String(), "only a ready model falls asleep; it is %s", s.Phase)
	case s.Replacement != nil:
		return noted("a worker of it is being replaced")
	case s.SleepFailedMS > 0 && at.Now.UnixMilli()-s.SleepFailedMS < sleepAgain.Milliseconds():
		return noted("it didn't fall asleep a while ago and is left alone for now")
	}
	return entity.Facts(&messages.SleepStarted{Attempt: s.Attempt, Reason: c.Reason, At: timestamppb.New(at.Now)}), nil
}

// asleep notes what the sleeping worker still holds.
func asleep(s State, c *messages.ReportAsleep, now *timestamppb.Timestamp) (entity.Verdict, error) {
	if c.Attempt != s.Attempt || s.Phase != FallingAsleep && (s.Phase != Waking || s.SleepTried) {
		return stale()
	}
	bytes := max(min(max(c.Bytes, sleepLeast), s.full()), 1)
	return entity.Facts(&messages.ModelAsleep{Attempt: s.Attempt, Bytes: bytes, At: now}), nil
}

func awake(s State, c *messages.ReportAwake, now *timestamppb.Timestamp) (entity.Verdict, error) {
	if c.Attempt != s.Attempt || s.Phase != Waking || !s.SleepTried {
		return stale()
	}
	return entity.Facts(&messages.ModelAwake{Attempt: s.Attempt, At: now}), nil
}

// sleepFailed wakes a worker that didn't fall asleep, because its state is unknown. One that doesn't wake up, or has no room to, is stopped, and
// the model is placed again.
func sleepFailed(s State, c *messages.ReportSleepFailed, now *timestamppb.Timestamp) (entity.Verdict, error) {
	waking := s.Phase == Waking && s.SleepTried
	if c.Attempt != s.Attempt || s.Phase != FallingAsleep && s.Phase != Waking || c.Waking != waking {
		return stale()
	}
	why := c.Error.GetMessage()
	if waking {
		return entity.Facts(&messages.ModelDraining{Attempt: s.Attempt, Reason: "it doesn't wake up: " + why, At: now}), nil
	}
	return entity.Facts(&messages.WakeStarted{Attempt: s.Attempt, Reason: "it doesn't fall asleep: " + why, Error: c.Error, At: now}), nil
}

// evolveSleep folds the events of sleep.
func evolveSleep(s State, event proto.Message) State {
	switch e := event.(type) {
	case *messages.SleepStarted:
		s.Phase, s.SleepTried, s.SleepBytes = FallingAsleep, false, 0
	case *messages.ModelAsleep:
		s.SleepTried, s.SleepBytes = true, e.Bytes
		if s.Phase == FallingAsleep {
			s.Phase, s.Unsettled = Asleep, true // the ledger hears that it holds less
		}
	case *messages.WakeStarted:
		s.Phase = Waking
		if e.Error != nil {
			s.SleepTried, s.SleepFailedMS = true, e.At.AsTime().UnixMilli()
		}
	case *messages.ModelAwake:
		s.Phase, s.SleepTried, s.SleepBytes, s.Unsettled = Ready, false, 0, true
	}
	return s
}

// owedSleep is the work of a worker that sleeps or is on its way. The ledger is never told two amounts at a time: they could arrive in
// either order.
func owedSleep(s State) []entity.Effect {
	out := []entity.Effect{watch{s.Worker, s.Attempt}}
	switch {
	case s.Unsettled && s.SleepBytes > 0:
		return append(out, shrink{s.Placement, s.SleepBytes, s.Attempt})
	case s.Unsettled:
		return append(out, settle{s.Placement, s.Measured, s.Attempt})
	case s.Phase == Waking && s.SleepTried:
		return append(out, wake{s.Spec, s.Worker, s.Placement, s.full(), s.Attempt})
	case s.Phase != Asleep:
		return append(out, fallAsleep{s.Spec, s.Worker, s.ID, s.Attempt})
	}
	return out
}
