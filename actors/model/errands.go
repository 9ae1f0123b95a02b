package model

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

func (h ports) fallAsleep(ctx context.Context, e fallAsleep) (proto.Message, error) {
	if err := h.gate.Drain(ctx, e.Actor, e.Attempt, false); err != nil {
		return nil, err
	}
	holds, err := h.runtime.Sleep(ctx, e.Spec, e.Worker)
	if err != nil && ctx.Err() != nil {
		return nil, err
	}
	if err != nil {
		return &messages.ReportSleepFailed{Attempt: e.Attempt, Error: messages.AsError(err).Body()}, nil
	}
	return &messages.ReportAsleep{Attempt: e.Attempt, Bytes: holds}, nil
}

// wake takes the memory back before the engine does.
func (h ports) wake(ctx context.Context, e wake) (proto.Message, error) {
	err := h.resize(ctx, e.Placement, e.Bytes)
	if code := messages.CodeOf(err); code != 0 && code != messages.GPUUnavailable && code != messages.NotFound {
		return nil, err
	}
	if err == nil {
		err = h.runtime.Wake(ctx, e.Spec, e.Worker)
	}
	if err != nil && ctx.Err() != nil {
		return nil, err
	}
	if err != nil {
		return &messages.ReportSleepFailed{Attempt: e.Attempt, Error: messages.AsError(err).Body(), Waking: true}, nil
	}
	return &messages.ReportAwake{Attempt: e.Attempt}, nil
}

// resize tells the ledgers that a placement's leases hold another amount, each its part of it. What never held anything stays as it is.
func (h ports) resize(ctx context.Context, p *messages.Placement, bytes uint64) error {
	if p.Bytes() == 0 {
		return nil
	}
	parts := p.Shares
	for _, part := range parts {
		share := max(bytes/uint64(len(parts)), 1)
		if _, err := h.door.Ask(ctx, gpuOf(part.Gpu), &messages.ResizeVram{Lease: part.Lease, Holder: p.Holder, Epoch: part.Epoch, Bytes: share}); err != nil {
			return err
		}
	}
	return nil
}

// callUp declares a further worker and asks for it. A call that isn't owed any more stops half-way.
func (h ports) callUp(ctx context.Context, e callUp) (proto.Message, error) {
	if err := h.ask(ctx, e.Actor, &messages.DeclareModel{Spec: e.Spec}, &messages.EnsureModel{Reason: "a replica of " + e.Spec.ReplicaOf}); err != nil {
		return nil, err
	}
	return &messages.ReportReplicaSettled{Replica: e.Actor.Name(), Up: true, Order: e.Order}, nil
}

func (h ports) ask(ctx context.Context, to messages.ActorID, commands ...proto.Message) error {
	for _, c := range commands {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := h.door.Ask(ctx, to, c); err != nil {
			return err
		}
	}
	return nil
}

// stepIn asks for a replacement and looks how far it is; the work stays owed while it is on its way.
func (h ports) stepIn(ctx context.Context, e stepIn) (proto.Message, error) {
	v, err := h.view(ctx, e.Actor)
	if err != nil {
		return nil, err
	}
	if !proto.Equal(v.Spec, e.Spec) || !v.Wanted {
		return nil, h.ask(ctx, e.Actor, &messages.DeclareModel{Spec: e.Spec}, &messages.EnsureModel{Reason: "it shall take the place of a degraded worker"})
	}
	failed := &messages.ReportReplacementFailed{Replica: e.Actor.Name(), Error: proto.CloneOf(v.Error)}
	switch Phase(v.Phase) {
	case Ready:
		return &messages.ReportReplacementReady{Replica: e.Actor.Name()}, nil
	case Placing:
		failed.Error = messages.NewError(messages.GPUUnavailable, v.Id, "it waits for a place").WithRetry(replacePatience).Body()
		return failed, nil
	case Failed, Waiting:
		if failed.Error == nil {
			failed.Error = messages.NewError(messages.ModelLoadError, v.Id, "it failed to load").Body()
		}
		failed.Error.RetryAfterMs = 0
		return failed, nil
	}
	return nil, nil
}

// renew has a replica's worker start anew and waits until it is ready, or nobody wants it any more.
func (h ports) renew(ctx context.Context, e renew) (proto.Message, error) {
	if err := h.ask(ctx, e.Actor, &messages.ReplaceWorker{Replica: e.Actor.Name(), Attempt: e.Attempt, Reason: e.Reason}); err != nil && messages.CodeOf(err) != messages.ModelNotFound {
		return nil, err
	}
	v, err := h.view(ctx, e.Actor)
	if err != nil {
		return nil, err
	}
	if v.Wanted && (v.Attempt <= e.Attempt || Phase(v.Phase) != Ready) {
		return nil, nil
	}
	return &messages.ReportReplicaSettled{Replica: e.Actor.Name(), Up: true, Order: e.Order}, nil
}

func (h ports) view(ctx context.Context, of messages.ActorID) (*messages.ModelView, error) {
	r, err := h.door.Ask(ctx, of, &messages.QueryView{})
	if err != nil {
		return nil, err
	}
	state, ok := r.Answer.(*messages.StateReply)
	if !ok {
		return nil, fmt.Errorf("%s answers %T", of, r.Answer)
	}
	v := &messages.ModelView{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal([]byte(state.ViewJson), v); err != nil {
		return nil, fmt.Errorf("the view of %s: %w", of, err)
	}
	return v, nil
}

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
	return &messages.ReportWorkerExited{Attempt: e.Attempt, Reason: "stopped"}, nil
}
