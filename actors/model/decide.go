package model

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/actors/entity"
	"modelops/messages"
)

// Retry is the budget for failed loads.
type Retry struct {
	Limit          int           // tries in a row before the model is failed
	First, Longest time.Duration // pauses: doubled from First up to Longest; 0 = 1 s and 1 min
}

// pause before the try that follows n failures; 0 = no try is left.
func (r Retry) pause(n int) time.Duration {
	if n >= r.Limit {
		return 0
	}
	first, longest := cmp.Or(r.First, time.Second), cmp.Or(r.Longest, time.Minute)
	if n > 30 { // a shift that far has no meaning as a time
		return longest
	}
	return min(first<<(n-1), longest)
}

// Rules is Decide with its configuration.
type Rules struct {
	Retry Retry
	// CanSleep tells whether a declaration's engine can sleep; nil = none can.
	CanSleep func(*messages.ModelSpec) bool
}

// Decide turns a command into facts.
func (r Rules) Decide(s State, command proto.Message, at entity.Stamp) (entity.Verdict, error) {
	now := timestamppb.New(at.Now)
	switch c := command.(type) {
	case *messages.DeclareModel:
		return declare(s, c, now)
	case *messages.EnsureModel:
		return ensure(s, c, now)
	case *messages.UnloadModel:
		return unload(s, c, now)
	case *messages.RetireModel:
		return retire(s, c, now)
	case *messages.Preempt:
		return preempt(s, c, at)
	case *messages.Reinstate:
		return reinstate(s, c, now)
	case *messages.PinModel:
		return pin(s, c, at)
	case *messages.ReportFootprint:
		if c.Attempt != s.Attempt || s.Phase != Ready || c.Bytes < s.Measured+footprintStep {
			return stale()
		}
		return entity.Facts(&messages.FootprintMeasured{Attempt: c.Attempt, Bytes: c.Bytes, At: now}), nil
	case *messages.PlacementGranted:
		return granted(s, c, at)
	case *messages.ReportPlacementFailed:
		return r.placementFailed(s, c, now)
	case *messages.ReportWorkerStarted:
		if c.Attempt != s.Attempt || !s.resident() || s.Worker != nil {
			return stale()
		}
		if c.Worker == nil {
			return entity.Verdict{}, messages.NewError(messages.InvalidArgument, s.ID.String(), "the report names no worker")
		}
		return entity.Facts(&messages.WorkerStarted{Attempt: c.Attempt, Worker: c.Worker, At: now}), nil
	case *messages.ReportWorkerReady:
		if c.Attempt != s.Attempt || s.Phase != Loading || s.Worker == nil {
			return stale()
		}
		return entity.Facts(&messages.ModelReady{Attempt: c.Attempt, MeasuredBytes: c.MeasuredBytes, Slots: c.Slots,
			LoadMs: at.Now.UnixMilli() - s.StartedMS, At: now}), nil
	case *messages.ReportLoadFailed:
		if c.Attempt != s.Attempt || s.Phase != Loading {
			return stale()
		}
		f := r.loadFailed(s, c.Attempt, c.Error, c.Retriable, now)
		f.OutOfMemory = c.OutOfMemory
		return entity.Facts(f), nil
	case *messages.ReportWorkerExited:
		return r.workerExited(s, c, at)
	case *messages.ReportDrained:
		if c.Attempt != s.Attempt || s.Phase != Draining {
			return stale()
		}
		return entity.Facts(&messages.ModelDrained{Attempt: c.Attempt, At: now}), nil
	case *messages.ReportLeaseSettled:
		if c.Attempt != s.Attempt || !s.Unsettled {
			return stale()
		}
		return entity.Facts(&messages.LeaseSettled{Attempt: c.Attempt, At: now}), nil
	case *messages.ReportLeaseReturned:
		if !slices.ContainsFunc(s.Returning, func(p *messages.Placement) bool { return p.Id == c.Placement }) {
			return stale()
		}
		return entity.Facts(&messages.LeaseReturned{Placement: c.Placement, At: now}), nil
	case *messages.RetryLoad:
		if c.Attempt != s.Attempt || s.Phase != Waiting {
			return stale()
		}
		return entity.Facts(&messages.ModelWanted{Reason: s.Reason, Attempt: s.Attempt + 1, OnDemand: s.OnDemand, FreeOnly: s.FreeOnly, At: now}), nil
	case *messages.ReportBreaker:
		if c.State == s.Breaker || s.Phase != Ready { // the report is about a worker, and may come after its end
			return stale()
		}
		return entity.Facts(&messages.BreakerChanged{State: c.State, Failures: c.Failures, At: now}), nil
	}
	return r.decideFurther(s, command, at)
}

// decideFurther is Decide for sleep, replicas, replacement and leases.
func (r Rules) decideFurther(s State, command proto.Message, at entity.Stamp) (entity.Verdict, error) {
	now := timestamppb.New(at.Now)
	switch c := command.(type) {
	case *messages.SleepModel:
		return r.sleep(s, c, at)
	case *messages.ReportAsleep:
		return asleep(s, c, now)
	case *messages.ReportAwake:
		return awake(s, c, now)
	case *messages.ReportSleepFailed:
		return sleepFailed(s, c, now)
	case *messages.ScaleModel:
		return scale(s, c, at)
	case *messages.ReportReplicaSettled:
		return replicaSettled(s, c, now)
	case *messages.ReplaceWorker:
		return replaceWorker(s, c, at)
	case *messages.ReportReplacementReady:
		return replacementReady(s, c, now)
	case *messages.ReportReplacementFailed:
		return replacementFailed(s, c, at)
	case *messages.QueryHolding:
		return entity.Verdict{Answer: func(uint64) proto.Message { return &messages.HoldingReply{Holds: s.holds(c.Lease, c.Epoch)} }}, nil
	case *messages.ReportLeaseLost:
		return leaseLost(s, c, now)
	}
	return entity.Verdict{}, entity.Unknown(s.ID, command)
}

// stale drops a report of an attempt that is over: it is late, not wrong.
func stale() (entity.Verdict, error) {
	return noted("nothing to do: the attempt is over or already there")
}

func noted(note string) (entity.Verdict, error) {
	return entity.Verdict{Answer: func(uint64) proto.Message { return &messages.Done{Note: note} }}, nil
}

// declare takes a new declaration. A running worker of another revision drains; the model stays wanted and is loaded again.
func declare(s State, c *messages.DeclareModel, now *timestamppb.Timestamp) (entity.Verdict, error) {
	if c.Spec == nil || c.Spec.Name != s.ID.Name() {
		return entity.Verdict{}, messages.Errorf(messages.InvalidArgument, s.ID.String(), "the declaration is for %q", c.Spec.GetName())
	}
	if of, _ := messages.ReplicaOf(c.Spec.Name); of != c.Spec.ReplicaOf {
		return entity.Verdict{}, messages.NewError(messages.InvalidArgument, s.ID.String(), "names that end in ~ and a number are those of replicas").
			WithHint("give it another name; max_replicas lets a model have replicas")
	}
	if what := messages.BadName(c.Spec.Name); what != "" && c.Spec.ReplicaOf == "" {
		return entity.Verdict{}, messages.NewError(messages.InvalidArgument, s.ID.String(), what).WithHint("give it " + messages.GoodName)
	}
	if proto.Equal(c.Spec, s.Spec) && !s.Retired {
		return entity.Verdict{}, nil
	}
	v := entity.Facts(&messages.ModelDeclared{Spec: c.Spec, At: now})
	changed := s.Spec != nil && s.Spec.Revision != c.Spec.Revision
	if changed && (s.settledIn() || s.Phase == Loading) {
		v.Events = append(v.Events, &messages.ModelDraining{Attempt: s.Attempt, Reason: "its declaration changed", At: now})
	}
	return v, nil
}

func ensure(s State, c *messages.EnsureModel, now *timestamppb.Timestamp) (entity.Verdict, error) {
	switch {
	case !s.declared():
		return entity.Verdict{}, NotFound(s.ID)
	case c.FreeOnly && (s.Wanted || s.Phase != Absent): // one that is here already, or has failed here, moves nowhere
		return noted(fmt.Sprintf("it doesn't move here: it is %s", s.Phase))
	case s.Phase == FallingAsleep || s.Phase == Asleep:
		return entity.Facts(&messages.WakeStarted{Attempt: s.Attempt, Reason: c.Reason, At: now}), nil
	case s.Wanted && s.Phase != Failed && !s.FreeOnly && (!s.OnDemand || c.OnDemand || s.Phase != Loading && s.Phase != Ready):
		return noted(fmt.Sprintf("already wanted: %s", s.Phase))
	}
	attempt := s.Attempt
	if !s.resident() {
		attempt++
	}
	return entity.Facts(&messages.ModelWanted{Reason: c.Reason, Attempt: attempt, OnDemand: c.OnDemand, FreeOnly: c.FreeOnly, At: now}), nil
}

// NotFound is the refusal for a model without a declaration.
func NotFound(id messages.ActorID) *messages.Error {
	return messages.Errorf(messages.ModelNotFound, id.String(), "Model '%s' not found", id.Name()).
		WithHint("modelops models lists what is declared; modelops load NAME --path FILE declares another")
}

func unload(s State, c *messages.UnloadModel, now *timestamppb.Timestamp) (entity.Verdict, error) {
	if s.Spec == nil {
		return entity.Verdict{}, NotFound(s.ID)
	}
	var v entity.Verdict
	if s.Wanted || s.Phase == Failed || s.LeftFor != "" { // the last: after an unload by hand the placement it left for can't bring it back
		v.Events = append(v.Events, &messages.ModelUnwanted{Reason: c.Reason, At: now})
	}
	if s.settledIn() || s.Phase == Loading || (s.Phase == Draining && c.Force && !s.Force) {
		v.Events = append(v.Events, &messages.ModelDraining{Attempt: s.Attempt, Reason: c.Reason, Force: c.Force, At: now})
	}
	if len(v.Events) == 0 {
		return noted("not loaded")
	}
	return v, nil
}

// retire withdraws the declaration and unloads the model.
func retire(s State, c *messages.RetireModel, now *timestamppb.Timestamp) (entity.Verdict, error) {
	if !s.declared() {
		return noted("not declared")
	}
	v, err := unload(s, &messages.UnloadModel{Reason: c.Reason}, now)
	v.Events = append(v.Events, &messages.ModelRetired{Reason: c.Reason, At: now})
	v.Answer = nil
	return v, err
}

// footprintStep is the least growth of a worker that becomes an event, in bytes.
const footprintStep = 16 * messages.MiB

// preempt unloads to make room, once for a placement, and answers with the progress.
func preempt(s State, c *messages.Preempt, at entity.Stamp) (entity.Verdict, error) {
	switch {
	case len(s.Returning) > 0:
		return left(messages.PreemptReply_leaving)
	case !s.resident(), s.MadeRoom == c.Placement && s.Wanted && (s.Phase == Loading || s.settledIn()):
		return s.gone(c.Placement) // the second: it left for this placement and is placed again
	case s.pinned(at.Now):
		return entity.Verdict{}, messages.Errorf(messages.FailedPrecondition, s.ID.String(), "it is pinned by %s", pinner(s))
	case s.Phase == Loading, s.Phase == Waking:
		return entity.Verdict{}, messages.Errorf(messages.FailedPrecondition, s.ID.String(), "it is %s", s.Phase)
	case !s.settledIn():
		return left(messages.PreemptReply_leaving)
	}
	if err := messages.Outdated(s.ID, c.Arbiter, c.ArbiterEpoch, s.Obeyed); err != nil {
		return entity.Verdict{}, err
	}
	now := timestamppb.New(at.Now)
	v, err := left(messages.PreemptReply_leaving)
	v.Events = []proto.Message{&messages.ModelUnwanted{Reason: c.Reason, Placement: c.Placement, EvictedFor: c.PreemptedFor, ArbiterEpoch: c.ArbiterEpoch, At: now},
		&messages.ModelDraining{Attempt: s.Attempt, Reason: c.Reason, At: now}}
	return v, err
}

// gone answers that it holds nothing any more.
func (s State) gone(placement string) (entity.Verdict, error) {
	reply := &messages.PreemptReply{State: messages.PreemptReply_gone, LeftForIt: !s.Wanted && s.declared() && s.LeftFor == placement}
	return entity.Verdict{Answer: func(uint64) proto.Message { return reply }}, nil
}

func left(state messages.PreemptReply_State) (entity.Verdict, error) {
	return entity.Verdict{Answer: func(uint64) proto.Message { return &messages.PreemptReply{State: state} }}, nil
}

// reinstate wants a model again that left for a placement, unless it was unloaded by hand since.
func reinstate(s State, c *messages.Reinstate, now *timestamppb.Timestamp) (entity.Verdict, error) {
	if !s.declared() {
		return entity.Verdict{}, NotFound(s.ID)
	}
	if s.LeftFor != c.Placement {
		return entity.Verdict{}, messages.NewError(messages.FailedPrecondition, s.ID.String(), "it was unloaded since it left, or never left for this: it isn't brought back")
	}
	return ensure(s, &messages.EnsureModel{Reason: c.Reason}, now)
}

func pinner(s State) string {
	if s.Spec.GetPinned() {
		return "its declaration"
	}
	return s.PinnedBy
}

func pin(s State, c *messages.PinModel, at entity.Stamp) (entity.Verdict, error) {
	if s.Spec == nil {
		return entity.Verdict{}, NotFound(s.ID)
	}
	if len(c.Owner) > messages.LongestOwner {
		return entity.Verdict{}, messages.Errorf(messages.InvalidArgument, "owner", "it is longer than %d bytes", messages.LongestOwner).WithHint("name a person or a program")
	}
	e := &messages.ModelPinned{Owner: c.Owner, At: timestamppb.New(at.Now)}
	if c.Owner != "" && c.TtlSeconds > 0 {
		e.UntilMs = at.Now.Add(time.Duration(c.TtlSeconds) * time.Second).UnixMilli()
	}
	if e.Owner == s.PinnedBy && e.UntilMs == s.PinnedTill {
		return noted("already so")
	}
	return entity.Facts(e), nil
}

func (r Rules) loadFailed(s State, attempt uint64, e *messages.ErrorBody, retriable bool, now *timestamppb.Timestamp) *messages.LoadFailed {
	// The worker's last lines stay in its log, because they may hold secrets.
	if len(e.GetLog()) > 0 {
		e = proto.CloneOf(e)
		e.Log = nil
	}
	f := &messages.LoadFailed{Attempt: attempt, Error: e, At: now}
	if retriable {
		f.RetryMs = r.Retry.pause(s.Failures + 1).Milliseconds()
	}
	return f
}

// workerExited ends the attempt. A wanted model is loaded again at once, unless its workers die young again and again. One that slept isn't:
// no request needed it. An exit that nobody witnessed says nothing of the model: a stop of the host ends loads.
func (r Rules) workerExited(s State, c *messages.ReportWorkerExited, at entity.Stamp) (entity.Verdict, error) {
	if c.Attempt != s.Attempt || !s.resident() {
		return stale()
	}
	now := timestamppb.New(at.Now)
	v := entity.Facts(&messages.WorkerExited{Attempt: c.Attempt, ExitCode: c.ExitCode, Reason: c.Reason, LogFile: s.Worker.GetLogPath(),
		Unwitnessed: c.Unwitnessed, At: now})
	switch {
	case !s.Wanted:
		return v, nil
	case s.Phase == FallingAsleep, s.Phase == Asleep:
		v.Events = append(v.Events, &messages.ModelUnwanted{Reason: "its worker exited while it slept: " + c.Reason, At: now})
		return v, nil
	}
	young := s.Phase == Ready && !s.healthy(at.Now) && !c.Unwitnessed
	if s.Phase == Loading && !c.Unwitnessed || young && s.Failures > 0 {
		e := messages.Errorf(messages.ModelLoadError, s.ID.String(), "the worker died young: %s", c.Reason).
			WithHint("modelops logs " + s.ID.Name())
		if s.Phase == Loading { // a worker that has served may have written prompts, so its log is read only by who asks for it
			e = e.WithLogFile(s.Worker.GetLogPath())
		}
		v.Events = append(v.Events, r.loadFailed(s, c.Attempt, e.Body(), true, now))
		return v, nil
	}
	v.Events = append(v.Events, &messages.ModelWanted{Reason: "its worker exited: " + c.Reason, Attempt: s.Attempt + 1, OnDemand: s.OnDemand, At: now})
	return v, nil
}
