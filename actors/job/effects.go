package job

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// Run names one attempt of a job, by its number and by the nonce that its processes carry.
type Run struct {
	Job     messages.ActorID
	Attempt uint64
	Nonce   string
	Spec    *messages.JobSpec
	// Runner is nil while nobody knows whether the attempt was begun.
	Runner *messages.Runner
}

// Launch is what an attempt begins with.
type Launch struct {
	Run
	Placement *messages.Placement
	// Resume is the last acknowledged checkpoint; nil = from the beginning.
	Resume *messages.Checkpoint
	// Smaller: with the recipe's setting for too little device memory.
	Smaller bool
	// Left is how long it may run; 0 = no bound.
	Left time.Duration
}

// Next is what comes next of an attempt: one of both is set.
type Next struct {
	Checkpoint *messages.Checkpoint
	Outcome    *messages.JobOutcome
}

// Trainer runs attempts. Their processes outlive the daemon, and what they leave is found on disk. Of every method Unavailable means that nothing is
// known or changed: it is tried again, and never taken for an attempt's end.
type Trainer interface {
	// Start starts the attempt's runner. One that was started before, alive or ended, is returned instead: no attempt is run twice. FailedPrecondition
	// and the other codes of what stays wrong: another try makes no sense, unless the error says when.
	Start(ctx context.Context, l Launch) (*messages.Runner, error)
	// Find is the attempt's runner, alive or ended; nil when it was never begun. It waits for a Start of the same attempt that is under way, and none
	// begins after that answer.
	Find(ctx context.Context, r Run) (*messages.Runner, error)
	// Follow waits for what comes next: a checkpoint of a step above the given one, with its checksum verified and in a place where the trainer doesn't
	// write any more; when there is none left and the processes are gone, the outcome, lost when they left none.
	Follow(ctx context.Context, r Run, after uint64) (Next, error)
	// Checkpoint asks the trainer for a checkpoint. It returns when one was told since, when the processes are gone, or when ctx is over.
	Checkpoint(ctx context.Context, r Run) error
	// Stop ends the attempt's processes, those of an existing engine too, and by force after the grace; nil when they are gone, and only then.
	Stop(ctx context.Context, r Run, grace time.Duration) error
	// Remove removes a job's files.
	Remove(ctx context.Context, job messages.ActorID) (bytes uint64, err error)
}

// The work that a job owes. Each key holds the attempt, so that late reports are recognised.
type (
	place struct {
		Spec    *messages.JobSpec
		ID      messages.ActorID
		Attempt uint64
	}
	start struct{ Launch }
	// follow is owed anew after each acknowledged checkpoint, because work reports one thing at most.
	follow struct {
		Run
		After uint64
	}
	// ask wants a checkpoint of an attempt that goes on.
	ask struct {
		Run
		After uint64
	}
	// find looks for the processes of a stopped attempt of which it isn't known whether it was begun.
	find struct{ Run }
	// leave ends a stopped attempt. What it reports comes from follow, so that nothing that it told before its end is passed over.
	leave struct {
		Run
		Checkpoint bool
		Grace      time.Duration
	}
	// overtime ends an attempt whose runner doesn't do that by itself.
	overtime struct {
		Attempt uint64
		After   time.Duration
	}
	retry struct {
		Attempt uint64
		After   time.Duration
	}
	remove struct{ Job messages.ActorID }
)

func (e place) Key() string  { return fmt.Sprintf("place/%d", e.Attempt) }
func (e start) Key() string  { return fmt.Sprintf("start/%d", e.Attempt) }
func (e follow) Key() string { return fmt.Sprintf("follow/%d/%d", e.Attempt, e.After) }
func (e ask) Key() string    { return fmt.Sprintf("ask/%d/%d", e.Attempt, e.After) }
func (e find) Key() string   { return fmt.Sprintf("find/%d", e.Attempt) }
func (e leave) Key() string {
	switch {
	case e.Checkpoint:
		return fmt.Sprintf("checkpoint/%d", e.Attempt)
	case e.Grace > 0:
		return fmt.Sprintf("stop/%d", e.Attempt)
	}
	return fmt.Sprintf("kill/%d", e.Attempt)
}
func (e overtime) Key() string { return fmt.Sprintf("overtime/%d", e.Attempt) }
func (e retry) Key() string    { return fmt.Sprintf("retry/%d", e.Attempt) }
func (e remove) Key() string   { return "remove" }

// Delay implements entity.Delayed.
func (e overtime) Delay() time.Duration { return e.After }

// Delay implements entity.Delayed: the pause before the next attempt.
func (e retry) Delay() time.Duration { return e.After }

// Pace: a free device is found soon, and one that waits for hours asks seldom enough.
func (place) Pace() (first, longest time.Duration) { return 5 * time.Millisecond, time.Second }

// Pace: what was told before is passed on at once, and a try that fails is repeated.
func (follow) Pace() (first, longest time.Duration) {
	return 100 * time.Millisecond, 5 * time.Second
}

// Pace: the processes are gone when the first try is over, and their outcome is on its way.
func (leave) Pace() (first, longest time.Duration) {
	return 100 * time.Millisecond, 5 * time.Second
}

// Pace: a trainer that didn't answer in its grace is asked again.
func (ask) Pace() (first, longest time.Duration) { return time.Minute, time.Minute }

// late is by how much a runner may exceed the time that its job is given, before the daemon ends it.
const late = 30 * time.Second

// run names the present attempt.
func (s State) run() Run {
	return Run{Job: s.ID, Attempt: s.Attempt, Nonce: s.Nonce, Spec: s.Spec, Runner: s.Runner}
}

// leftTime is how long the present attempt may run; 0 = no bound.
func (s State) leftTime() time.Duration {
	if s.wall() == 0 {
		return 0
	}
	return max(s.wall()-time.Duration(s.RanMS)*time.Millisecond, time.Millisecond)
}

// Owed lists the work that the state owes.
func Owed(s State) []entity.Effect {
	var out []entity.Effect
	for _, p := range s.Returning {
		out = append(out, giveBack{p})
	}
	switch {
	case s.seeks():
		if len(s.Returning) == 0 { // one attempt's memory at a time
			out = append(out, place{s.Spec, s.ID, s.Attempt})
		}
	case s.waits():
		out = append(out, retry{s.Attempt, time.Duration(s.RetryMS) * time.Millisecond})
	case s.Phase == Reserved:
		out = append(out, start{Launch{s.run(), s.Placement, s.Checkpoint, s.Smaller, s.leftTime()}})
	case s.Phase == Running:
		out = append(out, follow{s.run(), s.step()})
		if s.Asked {
			out = append(out, ask{s.run(), s.step()})
		}
		if s.Spec.GetWindow() != "" || s.Spec.GetIdleOnly() {
			out = append(out, permit{s.Attempt, s.Spec.Window, s.Spec.IdleOnly, s.Placement})
		}
		if s.wall() > 0 {
			out = append(out, overtime{s.Attempt, s.leftTime() + s.Spec.Grace() + late})
		}
	case s.Phase == Checkpointing && s.Runner == nil:
		out = append(out, find{s.run()})
	case s.Phase == Checkpointing:
		out = append(out, follow{s.run(), s.step()}, s.leaving())
	case s.Deleted && !s.Removed:
		out = append(out, remove{s.ID})
	}
	if s.resident() && s.LostLease == "" {
		out = append(out, verify{s.Placement, s.Attempt})
	}
	return out
}

func (s State) leaving() leave {
	e := leave{Run: s.run(), Checkpoint: s.gentle(), Grace: s.Spec.Grace()}
	if s.LostLease != "" {
		e.Grace = 0
	}
	return e
}

// ports are what a job touches the world with.
type ports struct {
	trainer Trainer
	door    messages.Door
	// free waits until a placement's memory is seen to be free on its device, or counts as foreign use; an error: it can't be known. May be nil.
	free func(context.Context, *messages.Placement) error
	// measured is the largest device memory that earlier runs of a job's recipe held of one device, in bytes; 0 = not known. May be nil.
	measured func(*messages.JobSpec) uint64
	// busy says which requests run or wait on the models of a placement's devices; empty = none. May be nil.
	busy func(*messages.Placement) string
	// now is the wall clock by which windows open and close; nil = the process's.
	now func() time.Time
}

func (h ports) perform(ctx context.Context, effect entity.Effect) (proto.Message, error) {
	switch e := effect.(type) {
	case place:
		return h.place(ctx, e)
	case start:
		return h.start(ctx, e)
	case follow:
		return h.follow(ctx, e)
	case ask:
		ctx, cancel := context.WithTimeout(ctx, e.Spec.Grace())
		defer cancel()
		return nil, h.trainer.Checkpoint(ctx, e.Run)
	case find:
		return h.find(ctx, e)
	case leave:
		return nil, h.leave(ctx, e)
	case overtime:
		return &messages.StopJob{Attempt: e.Attempt, Cause: messages.StopCause_stop_overtime, Reason: "its time is over, and its runner hasn't ended it"}, nil
	case permit:
		return h.permit(ctx, e)
	case giveBack:
		return h.giveBack(ctx, e)
	case verify:
		return h.verify(ctx, e)
	case retry:
		return &messages.RetryStart{Attempt: e.Attempt}, nil
	case remove:
		bytes, err := h.trainer.Remove(ctx, e.Job)
		if err != nil {
			return nil, err
		}
		return &messages.ReportJobFilesRemoved{Bytes: bytes}, nil
	}
	panic(fmt.Sprintf("a job owes no %T", effect))
}
