package model

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// The work of a model that sleeps.
type (
	fallAsleep struct {
		Spec    *messages.ModelSpec
		Worker  *messages.Worker
		Actor   messages.ActorID
		Attempt uint64
	}
	wake struct {
		Spec      *messages.ModelSpec
		Worker    *messages.Worker
		Placement *messages.Placement
		Bytes     uint64 // that it holds when it is awake
		Attempt   uint64
	}
)

func (e fallAsleep) Key() string { return fmt.Sprintf("fall_asleep/%d", e.Attempt) }
func (e wake) Key() string       { return fmt.Sprintf("wake/%d", e.Attempt) }

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

// wake takes the memory back before the engine does. Without room, or without its lease, the worker can't wake up.
func (h ports) wake(ctx context.Context, e wake) (proto.Message, error) {
	err := h.resize(ctx, e.Placement, e.Bytes)
	if err != nil && messages.CodeOf(err) != messages.GPUUnavailable && !lost(err) {
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
