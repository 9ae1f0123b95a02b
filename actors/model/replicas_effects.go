package model

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// The orders of a model to its further workers.
type (
	ensureReplica struct {
		Actor messages.ActorID
		Spec  *messages.ModelSpec
		Order uint64
	}
	removeReplica struct {
		Actor messages.ActorID
		Order uint64
	}
	ensureReplacement struct {
		Actor messages.ActorID
		Spec  *messages.ModelSpec
		Order uint64
	}
	restartReplica struct {
		Actor   messages.ActorID
		Attempt uint64
		Reason  string
		Order   uint64
	}
)

func (e ensureReplica) Key() string {
	return fmt.Sprintf("ensure_replica/%s/%d", e.Actor.Name(), e.Order)
}
func (e removeReplica) Key() string {
	return fmt.Sprintf("remove_replica/%s/%d", e.Actor.Name(), e.Order)
}
func (e ensureReplacement) Key() string {
	return fmt.Sprintf("ensure_replacement/%s/%d", e.Actor.Name(), e.Order)
}
func (e restartReplica) Key() string {
	return fmt.Sprintf("restart_replica/%s/%d", e.Actor.Name(), e.Order)
}

// Pace: the other worker's state is polled until it is ready.
func (ensureReplacement) Pace() (first, longest time.Duration) {
	return 100 * time.Millisecond, time.Second
}

// Pace: as for a replacement.
func (restartReplica) Pace() (first, longest time.Duration) {
	return 100 * time.Millisecond, time.Second
}

// ensureReplica declares a further worker and asks for it. An order that isn't owed any more stops half-way.
func (h ports) ensureReplica(ctx context.Context, e ensureReplica) (proto.Message, error) {
	if err := h.ask(ctx, e.Actor, &messages.DeclareModel{Spec: e.Spec}, &messages.EnsureModel{Reason: "a replica of " + e.Spec.ReplicaOf}); err != nil {
		return nil, err
	}
	return &messages.ReportReplicaSettled{Replica: e.Actor.Name(), Up: true, Order: e.Order}, nil
}

func (h ports) removeReplica(ctx context.Context, e removeReplica) (proto.Message, error) {
	if _, err := h.door.Ask(ctx, e.Actor, &messages.RetireModel{Reason: "its model needs it no longer"}); err != nil {
		return nil, err
	}
	return &messages.ReportReplicaSettled{Replica: e.Actor.Name(), Order: e.Order}, nil
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

// ensureReplacement asks for another worker in the place of a degraded one, and looks how far it is. The work stays owed while that starts.
func (h ports) ensureReplacement(ctx context.Context, e ensureReplacement) (proto.Message, error) {
	v, err := h.view(ctx, e.Actor)
	if err != nil {
		return nil, err
	}
	if !proto.Equal(v.Spec, e.Spec) || !v.Wanted || v.Phase == FallingAsleep || v.Phase == Asleep { // an idle pool may have put it to sleep since the last look
		return nil, h.ask(ctx, e.Actor, &messages.DeclareModel{Spec: e.Spec}, &messages.EnsureModel{Reason: "it takes the place of a degraded worker"})
	}
	failed := &messages.ReportReplacementFailed{Replica: e.Actor.Name(), Error: proto.CloneOf(v.Error)}
	switch v.Phase {
	case Ready:
		return &messages.ReportReplacementReady{Replica: e.Actor.Name()}, nil
	case Placing:
		failed.Error = messages.NewError(messages.GPUUnavailable, v.Id, "it waits for memory").WithRetry(replacePatience).Body()
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

// restartReplica has a replica's worker restart, and looks until it is ready or isn't wanted any more. One that sleeps was ready.
func (h ports) restartReplica(ctx context.Context, e restartReplica) (proto.Message, error) {
	if err := h.ask(ctx, e.Actor, &messages.ReplaceWorker{Replica: e.Actor.Name(), Attempt: e.Attempt, Reason: e.Reason}); err != nil && messages.CodeOf(err) != messages.ModelNotFound {
		return nil, err
	}
	v, err := h.view(ctx, e.Actor)
	if err != nil {
		return nil, err
	}
	ready := v.Phase == Ready || v.Phase == FallingAsleep || v.Phase == Asleep || v.Phase == Waking
	if v.Wanted && (v.Attempt <= e.Attempt || !ready) {
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
