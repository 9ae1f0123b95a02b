package gateway

import (
	"context"
	"time"

	"modelops/messages"
)

// tries is how often a request may be sent before its first byte: once, and twice more when a worker was gone.
const tries = 3

// Infer admits a request and runs it. It is sent again only before the first byte of an answer.
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
	for try := 1; ; try++ {
		grant, err := g.place(ctx, r.ModelName)
		if err != nil {
			return nil, err
		}
		record.Granted(grant)
		resp, err := g.runOnce(ctx, grant, r, g.timed(grant.Model, began, emit))
		if err == nil {
			resp.RequestId, resp.ModelName = r.RequestId, grant.Model
			resp.QueuedMs = float32(grant.Queued.Seconds() * 1000)
			g.o.Observer.Tokens(grant.Model, int(resp.TokensGenerated))
			return resp, nil
		}
		if ctx.Err() != nil {
			return nil, messages.AsError(context.Cause(ctx))
		}
		if try == tries || !g.o.Runner.BeforeFirstByte(err) {
			return nil, err
		}
	}
}

// runOnce runs at one worker and gives the place back, with the outcome for breaker and outlier detection.
func (g *Gateway) runOnce(ctx context.Context, grant *messages.Grant, r *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
	run, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(grant.Ended, func() { cancel(context.Cause(grant.Ended)) })()
	defer grant.Release(messages.Outcome{Failed: true}) // does nothing unless Run panics: a lost place would never come back
	resp, err := g.o.Runner.Run(run, grant, r, emit)
	ended := context.Cause(run)
	grant.Release(messages.Outcome{Failed: err != nil && run.Err() == nil && workerToBlame(err), Err: err})
	if err != nil && ctx.Err() == nil && ended != nil {
		return nil, messages.AsError(ended) // unloaded under the request
	}
	return resp, err
}

// workerToBlame tells whether an error counts against the worker. An invalid request, a deadline or a caller that left doesn't.
func workerToBlame(err error) bool {
	switch messages.CodeOf(err) {
	case messages.InferenceError, messages.Internal, messages.Unavailable:
		return true
	}
	return false
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
