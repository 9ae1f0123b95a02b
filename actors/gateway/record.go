package gateway

import (
	"context"
	"time"

	"modelops/messages"
)

// unrecorded is the record of a gateway without a recorder.
type unrecorded struct{}

func (unrecorded) Granted(*messages.Grant) {}
func (unrecorded) Ended(error)             {}

func (g *Gateway) record(ctx context.Context, model string) Record {
	if g.o.Recorder == nil {
		return unrecorded{}
	}
	return g.o.Recorder.Begin(ctx, model)
}

// Admit waits until the model may take one more request.
func (g *Gateway) Admit(ctx context.Context, model string) (*messages.Grant, error) {
	asked := messages.CallerFrom(ctx).Asked
	if asked.IsZero() {
		asked = time.Now()
	}
	if g.o.Recorder == nil {
		return g.place(ctx, model, asked)
	}
	record := g.record(ctx, model)
	grant, err := g.place(ctx, model, asked)
	if err != nil {
		record.Ended(err)
		return nil, err
	}
	record.Granted(grant)
	release := grant.Release
	grant.Release = func(o messages.Outcome) {
		record.Ended(o.Err)
		release(o)
	}
	return grant, nil
}
