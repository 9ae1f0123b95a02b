package gateway

import (
	"context"
	"time"

	"modelops/messages"
)

// Infer admits a request and runs it. messages.Sending says whether it is sent again.
func (g *Gateway) Infer(ctx context.Context, r *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
	began := time.Now()
	if a := messages.CallerFrom(ctx); a.RequestID == "" && r.RequestId != "" {
		a.RequestID = r.RequestId
		ctx = messages.WithCaller(ctx, a)
	}
	record := g.record(ctx, r.ModelName)
	resp, err := g.infer(ctx, r, record, emit, began)
	record.Ended(err)
	g.o.Observer.RequestDone(g.canonical(r.ModelName), messages.CodeOf(err), time.Since(began))
	return resp, err
}

// canonical keeps unknown names out of metric labels.
func (g *Gateway) canonical(name string) string {
	if t, ok := g.routes.Load().byName[name]; ok {
		return t.to.name
	}
	return ""
}

func (g *Gateway) infer(ctx context.Context, r *messages.InferenceRequest, record Record, emit func(*messages.InferenceChunk) error, began time.Time) (*messages.InferenceResponse, error) {
	var sending messages.Sending
	for {
		grant, err := g.place(ctx, r.ModelName, began)
		if err != nil {
			return nil, err
		}
		record.Granted(grant)
		resp, again, err := g.runOnce(ctx, grant, &sending, r, g.timed(grant.Model, began, emit))
		switch {
		case err == nil:
			resp.RequestId, resp.ModelName, resp.Host = r.RequestId, grant.Model, grant.Actor.Host()
			resp.QueuedMs = float32(grant.Queued.Seconds() * 1000)
			g.o.Observer.Tokens(grant.Model, int(resp.TokensGenerated))
			return resp, nil
		case ctx.Err() != nil:
			return nil, messages.AsError(context.Cause(ctx))
		case !again:
			return nil, err
		}
		if err := sending.Wait(ctx); err != nil {
			return nil, messages.AsError(err)
		}
	}
}

// runOnce runs at one worker and gives the place back, with the outcome for breaker and outlier detection.
func (g *Gateway) runOnce(ctx context.Context, grant *messages.Grant, sending *messages.Sending, r *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (resp *messages.InferenceResponse, again bool, err error) {
	run, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(grant.Ended, func() { cancel(context.Cause(grant.Ended)) })()
	defer grant.Release(messages.Outcome{Failed: true}) // does nothing unless Run panics: a lost place would never come back
	resp, err = g.o.Runner.Run(run, grant, r, emit)
	if err == nil {
		grant.Release(messages.Outcome{Bytes: sizeOf(r) + int64(len(resp.GetResponseText()))})
		return resp, false, nil
	}
	outcome, again := sending.Failed(run, grant, err)
	ended := context.Cause(run)
	grant.Release(outcome)
	if ctx.Err() == nil && ended != nil {
		return nil, false, messages.AsError(ended) // unloaded under the request
	}
	return nil, again, err
}

// sizeOf is the size of what a request asks.
func sizeOf(r *messages.InferenceRequest) int64 {
	n := len(r.Prompt)
	for _, m := range r.Messages {
		n += len(m.Content)
	}
	return int64(n)
}

func (g *Gateway) timed(model string, began time.Time, emit func(*messages.InferenceChunk) error) func(*messages.InferenceChunk) error {
	if emit == nil {
		return nil
	}
	first := true
	return func(c *messages.InferenceChunk) error {
		if first {
			first = false
			g.o.Observer.FirstByte(model, time.Since(began))
		}
		return emit(c)
	}
}
