package model

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// Runtime runs worker processes, or attaches to servers that run already.
type Runtime interface {
	// Need is the memory to reserve, in bytes: declared, else estimated.
	Need(ctx context.Context, spec *messages.ModelSpec) (*messages.Need, error)
	// Start starts the worker, or finds the one that already carries the nonce. Unavailable: nothing is known or changed, it is tried again.
	// ModelLoadError: declaration or program are wrong, which passes only if the error says when.
	Start(ctx context.Context, spec *messages.ModelSpec, p *messages.Placement, nonce string) (*messages.Worker, error)
	// AwaitReady waits until the worker answers as our model. measured is its footprint in bytes. Unavailable: it
	// can't be told whether the worker lives, which is never taken for its end.
	AwaitReady(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker) (measured uint64, slots uint32, err error)
	// Watch waits for the worker's end. A worker that has ended already has an unwitnessed exit. While it can't be told, Watch waits on.
	Watch(ctx context.Context, w *messages.Worker) (Exit, error)
	// Stop ends the worker and all it started; nil when it is gone, and only then.
	Stop(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker) error
	// Sleep puts the worker's engine to sleep, unless it sleeps; holds is what it still holds, in bytes.
	Sleep(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker) (holds uint64, err error)
	// Wake wakes it up, unless it is awake, and returns when it answers.
	Wake(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker) error
	// Find looks for a worker by its nonce; nil when none lives. It fails when that can't be told.
	Find(ctx context.Context, nonce string) (*messages.Worker, error)
}

// Exit is how a worker ended; code -1 when it can't be known.
type Exit struct {
	Code        int32
	Reason      string
	Unwitnessed bool
}

// Error says how the worker ended.
func (x Exit) Error() string { return x.Reason }

// Gate is the gateway's side of a drain.
type Gate interface {
	// Drain lets no new request run at an actor's worker and returns when none runs; force ends the running ones.
	Drain(ctx context.Context, id messages.ActorID, attempt uint64, force bool) error
}

// The work that a model owes. Each key holds the attempt, so that late reports are recognised.
type (
	place struct {
		Spec    *messages.ModelSpec
		ID      messages.ActorID
		Attempt uint64
		Known   uint64 // measured footprint in bytes, 0 = none
		// FreeOnly takes no memory for which somebody has to leave.
		FreeOnly bool
	}
	start struct {
		Spec      *messages.ModelSpec
		Placement *messages.Placement
		Nonce     string
		Attempt   uint64
	}
	await struct {
		Spec    *messages.ModelSpec
		Worker  *messages.Worker
		Attempt uint64
	}
	watch struct {
		Worker  *messages.Worker
		Attempt uint64
	}
	drain struct {
		Actor   messages.ActorID
		Attempt uint64
		Force   bool
	}
	stop struct {
		Spec    *messages.ModelSpec
		Worker  *messages.Worker
		Nonce   string
		Attempt uint64
	}
	retry struct {
		Attempt uint64
		After   time.Duration
	}
)

func (e place) Key() string { return fmt.Sprintf("place/%d", e.Attempt) }
func (e start) Key() string { return fmt.Sprintf("start/%d", e.Attempt) }
func (e await) Key() string { return fmt.Sprintf("ready/%d", e.Attempt) }
func (e watch) Key() string { return fmt.Sprintf("watch/%d", e.Attempt) }
func (e drain) Key() string { return fmt.Sprintf("drain/%d/%t", e.Attempt, e.Force) }
func (e stop) Key() string  { return fmt.Sprintf("stop/%d", e.Attempt) }
func (e retry) Key() string { return fmt.Sprintf("retry/%d", e.Attempt) }

// Delay implements entity.Delayed: the pause before the next try.
func (e retry) Delay() time.Duration { return e.After }

// Pace: the arbiter's answer is usually there within a few milliseconds.
func (place) Pace() (first, longest time.Duration) {
	return 5 * time.Millisecond, 250 * time.Millisecond
}

// Owed lists the work that the state owes.
func Owed(s State) []entity.Effect {
	out := owedReplicas(s)
	for _, p := range s.Returning {
		out = append(out, giveBack{p})
	}
	switch s.Phase {
	case Placing:
		if len(s.Returning) == 0 { // one attempt's memory at a time
			out = append(out, place{s.Spec, s.ID, s.Attempt, s.remembered(), s.FreeOnly})
		}
	case Loading:
		if s.Worker == nil {
			out = append(out, start{s.Spec, s.Placement, s.Nonce, s.Attempt})
		} else {
			out = append(out, await{s.Spec, s.Worker, s.Attempt})
		}
	case Ready:
		out = append(out, watch{s.Worker, s.Attempt})
		if s.Unsettled {
			out = append(out, settle{s.Placement, s.Measured, s.Attempt})
		}
	case FallingAsleep, Asleep, Waking:
		out = append(out, owedSleep(s)...)
	case Draining:
		out = append(out, drain{s.ID, s.Attempt, s.Force})
		if s.Worker != nil {
			out = append(out, watch{s.Worker, s.Attempt})
		}
	case Stopping:
		out = append(out, stop{s.Spec, s.Worker, s.Nonce, s.Attempt})
	case Waiting:
		out = append(out, retry{s.Attempt, time.Duration(s.RetryMS) * time.Millisecond})
	}
	if s.Phase == Loading || s.settledIn() {
		out = append(out, verify{s.Placement, s.Attempt})
	}
	return out
}

// ports are what a model touches the world with.
type ports struct {
	runtime Runtime
	gate    Gate
	door    messages.Door
	// free waits until a placement's memory is seen to be free on its device, or counts as foreign use; an error: it can't be known. May be nil.
	free func(context.Context, *messages.Placement) error
	// held is what the worker of a split placement holds of each of its devices, in their order; may be nil.
	held func(context.Context, *messages.Placement) []uint64
	// outOfMemory tells whether a failed load ran out of device memory; may be nil.
	outOfMemory func(error) bool
	// interrupted tells whether a load failed, or a worker ended with an Exit, because the host stopped; may be nil.
	interrupted func(context.Context, error) bool
}

func (h ports) perform(ctx context.Context, effect entity.Effect) (proto.Message, error) {
	switch e := effect.(type) {
	case place:
		return h.place(ctx, e)
	case start:
		return h.start(ctx, e)
	case await:
		return h.await(ctx, e)
	case watch:
		x, err := h.runtime.Watch(ctx, e.Worker)
		if err != nil {
			return nil, err
		}
		unwitnessed := x.Unwitnessed || h.interrupted != nil && h.interrupted(ctx, x) // a stop of the host says nothing of the model
		return &messages.ReportWorkerExited{Attempt: e.Attempt, ExitCode: x.Code, Reason: x.Reason, Unwitnessed: unwitnessed}, nil
	case settle:
		return h.settle(ctx, e)
	case drain:
		if err := h.gate.Drain(ctx, e.Actor, e.Attempt, e.Force); err != nil {
			return nil, err
		}
		return &messages.ReportDrained{Attempt: e.Attempt}, nil
	case fallAsleep:
		return h.fallAsleep(ctx, e)
	case shrink:
		return h.shrink(ctx, e)
	case wake:
		return h.wake(ctx, e)
	case ensureReplica:
		return h.ensureReplica(ctx, e)
	case removeReplica:
		return h.removeReplica(ctx, e)
	case ensureReplacement:
		return h.ensureReplacement(ctx, e)
	case restartReplica:
		return h.restartReplica(ctx, e)
	case stop:
		return h.stop(ctx, e)
	case giveBack:
		return h.giveBack(ctx, e)
	case verify:
		return h.verify(ctx, e)
	case retry:
		return &messages.RetryLoad{Attempt: e.Attempt}, nil
	}
	panic(fmt.Sprintf("model owes no %T", effect))
}

func (h ports) start(ctx context.Context, e start) (proto.Message, error) {
	if e.Placement.GetArbiterEpoch() > 0 { // its arbiter may have been cut off for so long that the owners gave its reservations to others
		if lost, err := h.verify(ctx, verify{Placement: e.Placement, Attempt: e.Attempt}); lost != nil || err != nil {
			return lost, err
		}
	}
	w, err := h.runtime.Start(ctx, e.Spec, e.Placement, e.Nonce)
	if err != nil && (ctx.Err() != nil || unknown(err)) {
		return nil, err
	}
	if err != nil {
		return &messages.ReportLoadFailed{Attempt: e.Attempt, Error: messages.AsError(err).Body(), Retriable: startsLater(err)}, nil
	}
	return &messages.ReportWorkerStarted{Attempt: e.Attempt, Worker: w}, nil
}

// await reports a failure only once the worker is gone, because the failure gives its memory back.
func (h ports) await(ctx context.Context, e await) (proto.Message, error) {
	measured, slots, err := h.runtime.AwaitReady(ctx, e.Spec, e.Worker)
	if err == nil {
		return &messages.ReportWorkerReady{Attempt: e.Attempt, MeasuredBytes: measured, Slots: slots}, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if unknown(err) {
		return nil, err
	}
	if stopErr := h.runtime.Stop(ctx, e.Spec, e.Worker); stopErr != nil {
		return nil, stopErr
	}
	if h.interrupted != nil && h.interrupted(ctx, err) {
		return &messages.ReportWorkerExited{Attempt: e.Attempt, ExitCode: -1, Reason: Interrupted, Unwitnessed: true}, nil
	}
	return &messages.ReportLoadFailed{Attempt: e.Attempt, Error: messages.AsError(err).Body(), Retriable: retriable(err),
		OutOfMemory: h.outOfMemory != nil && h.outOfMemory(err)}, nil
}

// unknown tells that an error says nothing of the worker. The work stays owed.
func unknown(err error) bool { return messages.CodeOf(err) == messages.Unavailable }

// startsLater tells whether another start may succeed. What is wrong with a declaration or a program stays wrong, unless the error says when to
// try again.
func startsLater(err error) bool {
	if e := messages.AsError(err); e.Code == messages.ModelLoadError {
		return e.Retry > 0
	}
	return retriable(err)
}

// retriable tells whether another try may succeed. An invalid declaration stays invalid, and a program that isn't there doesn't come.
func retriable(err error) bool {
	switch e := messages.AsError(err); e.Code {
	case messages.InvalidArgument, messages.NotFound, messages.ModelNotFound, messages.Unsupported:
		return false
	case messages.FailedPrecondition:
		return e.Retry > 0
	}
	return true
}

// Interrupted is the reason of the exit of a worker that a stop of its host ended while it loaded. It is in the journal, so it never changes.
const Interrupted = "the host stopped while it loaded"

// Stopped is the reason of a worker's exit that its model ordered. It is in the journal, so it never changes.
const Stopped = "stopped"

func (h ports) stop(ctx context.Context, e stop) (proto.Message, error) {
	w := e.Worker
	if w == nil { // the start was cancelled half-way: is there a process with its nonce?
		found, err := h.runtime.Find(ctx, e.Nonce)
		if err != nil {
			return nil, err
		}
		w = found
	}
	if w != nil {
		if err := h.runtime.Stop(ctx, e.Spec, w); err != nil {
			return nil, err
		}
	}
	return &messages.ReportWorkerExited{Attempt: e.Attempt, Reason: Stopped}, nil
}
