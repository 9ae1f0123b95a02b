package model

import (
	"context"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

func (h hands) doze(ctx context.Context, e doze) (proto.Message, error) {
	if err := h.gate.Drain(ctx, e.Model, e.Attempt, false); err != nil {
		return nil, err
	}
	holds, err := h.runtime.Sleep(ctx, e.Spec, e.Worker)
	if err != nil && ctx.Err() != nil {
		return nil, err
	}
	if err != nil {
		return &messages.ReportNapFailed{Attempt: e.Attempt, Error: messages.AsError(err).Body()}, nil
	}
	return &messages.ReportAsleep{Attempt: e.Attempt, Bytes: holds}, nil
}

// wake takes the memory back before the engine does.
func (h hands) wake(ctx context.Context, e wake) (proto.Message, error) {
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
		return &messages.ReportNapFailed{Attempt: e.Placement.Attempt, Error: messages.AsError(err).Body(), Waking: true}, nil
	}
	return &messages.ReportAwake{Attempt: e.Placement.Attempt}, nil
}

// resize tells the ledgers that a placement's leases hold another amount, each its part of it. What never held anything stays as it is.
func (h hands) resize(ctx context.Context, p *messages.Placement, bytes uint64) error {
	if p.Bytes == 0 {
		return nil
	}
	parts := p.Parts()
	for _, part := range parts {
		share := max(bytes/uint64(len(parts)), 1)
		if _, err := h.door.Ask(ctx, gpuOf(part.Gpu), &messages.ResizeVram{Lease: part.Lease, Bytes: share}); err != nil {
			return err
		}
	}
	return nil
}
