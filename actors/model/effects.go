package model

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// Runtime runs worker processes, or attaches to what already answers.
type Runtime interface {
	// Need is the memory to reserve, in bytes: declared, else estimated.
	Need(ctx context.Context, spec *messages.ModelSpec) (uint64, error)
	// Start starts the worker, or finds the one that already carries the nonce.
	Start(ctx context.Context, spec *messages.ModelSpec, p *messages.Placement, nonce string) (*messages.Worker, error)
	// AwaitReady waits until the worker answers as our model. measured is its footprint in bytes.
	AwaitReady(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker) (measured uint64, slots uint32, err error)
	// Watch waits for the worker's end. A worker that can't prove itself is gone already: its exit is unwitnessed.
	Watch(ctx context.Context, w *messages.Worker) (Exit, error)
	// Stop ends the worker and all it started; nil when it is gone.
	Stop(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker) error
	// Sleep puts the worker's engine to sleep, unless it sleeps; holds is what it still holds, in bytes.
	Sleep(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker) (holds uint64, err error)
	// Wake wakes it up, unless it is awake, and returns when it answers.
	Wake(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker) error
	// Find looks for a worker by its nonce; nil when none lives.
	Find(ctx context.Context, nonce string) (*messages.Worker, error)
}

// Exit is how a worker ended; code -1 when nobody could know.
type Exit struct {
	Code        int32
	Reason      string
	LogTail     []string
	Unwitnessed bool
}

// Gate is the gateway's side of a drain.
type Gate interface {
	// Drain lets no new request run at an actor's worker and returns when none runs; force ends the running ones.
	Drain(ctx context.Context, id messages.ActorID, attempt uint64, force bool) error
}

// The work a model owes. Each key holds the attempt, so that late answers are told apart.
type (
	place struct {
		Spec    *messages.ModelSpec
		ID      messages.ActorID
		Attempt uint64
		Known   uint64 // measured footprint in bytes, 0 = none
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
	settle struct {
		Placement *messages.Placement
		Measured  uint64
		Attempt   uint64
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
	fallAsleep struct {
		Spec    *messages.ModelSpec
		Worker  *messages.Worker
		Actor   messages.ActorID
		Attempt uint64
	}
	shrink struct { // a sleeper's memory goes back
		Placement *messages.Placement
		Bytes     uint64
		Attempt   uint64
	}
	wake struct {
		Spec      *messages.ModelSpec
		Worker    *messages.Worker
		Placement *messages.Placement
		Bytes     uint64 // when it is awake
		Attempt   uint64
	}
	callUp struct { // a further worker shall be there
		Actor messages.ActorID
		Spec  *messages.ModelSpec
		Order uint64
	}
	dismiss struct {
		Actor messages.ActorID
		Order uint64
	}
	stepIn struct { // a replacement shall be ready
		Actor messages.ActorID
		Spec  *messages.ModelSpec
		Order uint64
	}
	renew struct { // a replica's worker shall start anew
		Actor   messages.ActorID
		Attempt uint64
		Reason  string
		Order   uint64
	}
	giveUp struct{ Placement *messages.Placement } // return a lease
	retry  struct {
		Attempt uint64
		After   time.Duration
	}
)

func (e place) Key() string      { return fmt.Sprintf("place/%d", e.Attempt) }
func (e start) Key() string      { return fmt.Sprintf("start/%d", e.Attempt) }
func (e await) Key() string      { return fmt.Sprintf("ready/%d", e.Attempt) }
func (e watch) Key() string      { return fmt.Sprintf("watch/%d", e.Attempt) }
func (e settle) Key() string     { return fmt.Sprintf("settle/%d/%d", e.Attempt, e.Measured) }
func (e drain) Key() string      { return fmt.Sprintf("drain/%d/%t", e.Attempt, e.Force) }
func (e stop) Key() string       { return fmt.Sprintf("stop/%d", e.Attempt) }
func (e fallAsleep) Key() string { return fmt.Sprintf("fallAsleep/%d", e.Attempt) }
func (e shrink) Key() string     { return fmt.Sprintf("shrink/%d/%d", e.Attempt, e.Bytes) }
func (e wake) Key() string       { return fmt.Sprintf("wake/%d", e.Attempt) }
func (e callUp) Key() string     { return fmt.Sprintf("call_up/%s/%d", e.Actor.Name(), e.Order) }
func (e dismiss) Key() string    { return fmt.Sprintf("dismiss/%s/%d", e.Actor.Name(), e.Order) }
func (e stepIn) Key() string     { return fmt.Sprintf("step_in/%s/%d", e.Actor.Name(), e.Order) }
func (e renew) Key() string      { return fmt.Sprintf("renew/%s/%d", e.Actor.Name(), e.Order) }
func (e giveUp) Key() string     { return "return/" + e.Placement.Id }
func (e retry) Key() string      { return fmt.Sprintf("retry/%d", e.Attempt) }

// Pace: the arbiter's answer is usually there within a few milliseconds.
func (place) Pace() (first, longest time.Duration) {
	return 5 * time.Millisecond, 250 * time.Millisecond
}

// Pace: who is waited for is looked at again and again.
func (stepIn) Pace() (first, longest time.Duration) { return 100 * time.Millisecond, time.Second }

// Pace is as that of stepIn.
func (renew) Pace() (first, longest time.Duration) { return 100 * time.Millisecond, time.Second }

// Owed lists what the world owes this state.
func Owed(s State) []entity.Effect {
	out := owedCrew(s)
	for _, p := range s.Returning {
		out = append(out, giveUp{p})
	}
	switch s.Phase {
	case Placing:
		if len(s.Returning) == 0 { // one attempt's memory at a time
			out = append(out, place{s.Spec, s.ID, s.Attempt, s.remembered()})
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
	return out
}

// ports are what a model touches the world with.
type ports struct {
	runtime Runtime
	gate    Gate
	door    messages.Door
	// free waits until a placement's memory is seen to be free on its device, or gives up waiting; may be nil.
	free func(context.Context, *messages.Placement)
	// held is what the worker of a split placement holds of each of its devices, in their order; may be nil.
	held func(context.Context, *messages.Placement) []uint64
	// outOfMemory tells whether a failed load ran out of device memory; may be nil.
	outOfMemory func(error) bool
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
		return &messages.ReportWorkerExited{Attempt: e.Attempt, ExitCode: x.Code, Reason: x.Reason, LogTail: x.LogTail, Unwitnessed: x.Unwitnessed}, nil
	case settle:
		if err := h.settle(ctx, e); err != nil {
			return nil, err
		}
		return &messages.ReportLeaseSettled{Attempt: e.Attempt}, nil
	case drain:
		if err := h.gate.Drain(ctx, e.Actor, e.Attempt, e.Force); err != nil {
			return nil, err
		}
		return &messages.ReportDrained{Attempt: e.Attempt}, nil
	case fallAsleep:
		return h.fallAsleep(ctx, e)
	case shrink:
		if err := h.resize(ctx, e.Placement, e.Bytes); err != nil && messages.CodeOf(err) != messages.NotFound {
			return nil, err
		}
		return &messages.ReportLeaseSettled{Attempt: e.Attempt}, nil
	case wake:
		return h.wake(ctx, e)
	case callUp:
		return h.callUp(ctx, e)
	case dismiss:
		if _, err := h.door.Ask(ctx, e.Actor, &messages.RetireModel{Reason: "its model dismisses it"}); err != nil {
			return nil, err
		}
		return &messages.ReportReplicaSettled{Replica: e.Actor.Name(), Order: e.Order}, nil
	case stepIn:
		return h.stepIn(ctx, e)
	case renew:
		return h.renew(ctx, e)
	case stop:
		return h.stop(ctx, e)
	case giveUp:
		if h.free != nil {
			h.free(ctx, e.Placement) // the driver's word lags behind a process's end
		}
		for _, part := range e.Placement.Shares {
			if _, err := h.door.Ask(ctx, gpuOf(part.Gpu), &messages.ReleaseVram{Lease: part.Lease, Holder: e.Placement.Holder, Epoch: part.Epoch, Reason: "its worker is gone"}); err != nil {
				return nil, err
			}
		}
		return &messages.ReportLeaseReturned{Placement: e.Placement.Id}, nil
	case retry:
		if err := entity.Pause(ctx, e.After); err != nil {
			return nil, err
		}
		return &messages.RetryLoad{Attempt: e.Attempt}, nil
	}
	panic(fmt.Sprintf("model owes no %T", effect))
}

// settle tells every device of a placement what the worker was measured to hold there; without figures for each, an equal part.
func (h ports) settle(ctx context.Context, e settle) error {
	parts := e.Placement.Shares
	held := []uint64{e.Measured}
	if len(parts) > 1 {
		held = nil
		if h.held != nil {
			held = h.held(ctx, e.Placement)
		}
		if len(held) != len(parts) {
			held = slices.Repeat([]uint64{e.Measured / uint64(len(parts))}, len(parts))
		}
	}
	for i, part := range parts {
		_, err := h.door.Ask(ctx, gpuOf(part.Gpu), &messages.SettleVram{Lease: part.Lease, Holder: e.Placement.Holder, Epoch: part.Epoch, MeasuredBytes: held[i]})
		if err != nil && messages.CodeOf(err) != messages.NotFound {
			return err
		}
	}
	return nil
}

func gpuOf(gpu string) messages.ActorID {
	id, err := messages.ParseActorID(gpu)
	if err != nil {
		panic(err) // a placement is made by the arbiter, from a gpu actor's own view
	}
	return id
}

// place asks the arbiter, again and again while it is undecided: asking twice for one attempt gives one placement.
func (h ports) place(ctx context.Context, e place) (proto.Message, error) {
	need, err := NeedOf(ctx, h.runtime, e.Spec, e.Known)
	if err != nil {
		return &messages.ReportPlacementFailed{Attempt: e.Attempt, Error: messages.AsError(err).Body()}, nil
	}
	need.Host = e.ID.Host()
	_, err = h.door.Ask(ctx, messages.ArbiterActor(), &messages.RequestPlacement{Holder: e.ID.String(), Preemptible: true,
		Claim: &messages.Claim{Id: claimOf(e.Attempt), Needs: []*messages.Need{need}, Groups: e.Spec.GetGroups()}})
	if messages.CodeOf(err) == messages.GPUUnavailable {
		refusal := messages.AsError(err)
		return &messages.ReportPlacementFailed{Attempt: e.Attempt, Error: refusal.Body(), Retriable: refusal.Retry > 0}, nil
	}
	return nil, err
}

// RunsOn says which kinds of devices a model's engine uses. Remote engines hold nothing here and go anywhere.
func RunsOn(spec *messages.ModelSpec) []string {
	switch spec.GetRuntime() {
	case "embedded":
		return []string{"cpu", "simulated"}
	case "openai", "ollama":
		return []string{"cpu", "simulated", "cuda"}
	}
	return []string{"cuda", "simulated", "cpu"}
}

// ShardsOf is over how many devices a model is split. Some engines can't be, and remote ones do it where they are.
func ShardsOf(spec *messages.ModelSpec) uint32 {
	switch spec.GetRuntime() {
	case "embedded", "whisper.cpp", "openai", "ollama":
		return 1
	}
	return spec.GetShards()
}

// Estimator says what a model's files suggest of its need.
type Estimator interface {
	// Need is the memory to reserve, in bytes: declared, else estimated. It fails when the file isn't there.
	Need(ctx context.Context, spec *messages.ModelSpec) (uint64, error)
}

// NeedOf is what a model needs on a host: what was measured there beats what is declared, and that beats what its file suggests.
func NeedOf(ctx context.Context, from Estimator, spec *messages.ModelSpec, measured uint64) (*messages.Need, error) {
	estimate, err := from.Need(ctx, spec) // also finds out that the file isn't there
	if err != nil {
		return nil, err
	}
	need := &messages.Need{Bytes: estimate, Source: messages.Need_estimated, Kinds: RunsOn(spec), Shards: ShardsOf(spec)}
	switch {
	case measured > 0:
		need.Bytes, need.Source = measured, messages.Need_measured
	case spec.GetVramBytes() > 0:
		need.Source = messages.Need_declared
	}
	return need, nil
}

func (h ports) start(ctx context.Context, e start) (proto.Message, error) {
	w, err := h.runtime.Start(ctx, e.Spec, e.Placement, e.Nonce)
	if err != nil && ctx.Err() != nil {
		return nil, err
	}
	if err != nil {
		return &messages.ReportLoadFailed{Attempt: e.Attempt, Error: messages.AsError(err).Body(), Retriable: retriable(err)}, nil
	}
	return &messages.ReportWorkerStarted{Attempt: e.Attempt, Worker: w}, nil
}

// await reports a failure only once the worker is gone, since the failure sends its memory home.
func (h ports) await(ctx context.Context, e await) (proto.Message, error) {
	measured, slots, err := h.runtime.AwaitReady(ctx, e.Spec, e.Worker)
	if err == nil {
		return &messages.ReportWorkerReady{Attempt: e.Attempt, MeasuredBytes: measured, Slots: slots}, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if stopErr := h.runtime.Stop(ctx, e.Spec, e.Worker); stopErr != nil {
		return nil, stopErr
	}
	return &messages.ReportLoadFailed{Attempt: e.Attempt, Error: messages.AsError(err).Body(), Retriable: retriable(err),
		OutOfMemory: h.outOfMemory != nil && h.outOfMemory(err)}, nil
}

// retriable: what is wrong with the question stays wrong.
func retriable(err error) bool {
	switch messages.CodeOf(err) {
	case messages.InvalidArgument, messages.NotFound, messages.ModelNotFound, messages.Unsupported:
		return false
	}
	return true
}
