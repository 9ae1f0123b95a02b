package main

import (
	"context"
	"strings"
	"sync"
	"time"

	reasons "modelops/actors/explain"
	"modelops/actors/gateway"
	"modelops/journal"
	"modelops/messages"
)

// rememberedRequests bounds what is known of requests; longest bounds a text in it, in bytes.
const (
	rememberedRequests = 4096
	longest            = 256
)

// requestRing remembers the latest requests: a request isn't journaled, and most cause no decision.
type requestRing struct {
	now   func() time.Time
	pid   func(model string) int64 // of a model's worker now; 0 = it has none
	mu    sync.Mutex
	slots [rememberedRequests]*remembered
	next  uint64
}

// remembered is one request. Its ring's lock guards it.
type remembered struct {
	ring    *requestRing
	request reasons.Request
	model   string // the canonical name, once a grant has told it
}

// begin notes a request under the id of its context; nil when it has none.
func (r *requestRing) begin(ctx context.Context, model string) *remembered {
	id := messages.MetaFrom(ctx).Correlation
	if id == "" {
		return nil
	}
	// Cloned: the text may be part of a whole body.
	m := &remembered{ring: r, request: reasons.Request{ID: clipped(id), Asked: clipped(model), Began: r.now()}}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slots[r.next%rememberedRequests] = m
	r.next++
	return m
}

// clipped bounds a caller's text; what the cut leaves of a rune would be no text.
func clipped(s string) string {
	return strings.Clone(strings.ToValidUTF8(s[:min(len(s), longest)], ""))
}

// granted notes the place that the request got. A request that is sent again gets another one.
func (m *remembered) granted(g *messages.Grant) {
	if m == nil {
		return
	}
	pid := m.ring.pid(g.Model)
	m.ring.mu.Lock()
	defer m.ring.mu.Unlock()
	m.model = g.Model
	m.request.Granted, m.request.Position, m.request.URL, m.request.Pid = m.ring.now(), g.Position, g.URL, pid
	m.request.Sent++
}

// ended notes how it went, once. The refusal's words are kept only where this house wrote them: an engine's could quote a prompt.
func (m *remembered) ended(err error, ours bool) {
	if m == nil {
		return
	}
	m.ring.mu.Lock()
	defer m.ring.mu.Unlock()
	if !m.request.Ended.IsZero() {
		return
	}
	m.request.Ended, m.request.Code = m.ring.now(), messages.CodeOf(err)
	if ours && err != nil {
		m.request.Refusal = messages.AsError(err).Message
	}
}

// find is the latest request of an id. Callers may choose ids, so several can have one.
func (r *requestRing) find(id string) (reasons.Request, string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var last *remembered
	var sent int
	for i := range min(r.next, rememberedRequests) {
		if m := r.slots[(r.next-1-i)%rememberedRequests]; m.request.ID == clipped(id) {
			sent += max(m.request.Sent, 1)
			if last == nil {
				last = m
			}
		}
	}
	if last == nil {
		return reasons.Request{}, "", false
	}
	out := last.request
	out.Sent = sent
	return out, last.model, true
}

// recordingGateway notes the requests that pass, whatever door they came through.
type recordingGateway struct {
	messages.Gateway
	ring *requestRing
}

type rememberedKey struct{}

// Infer implements messages.Gateway. The place is noted by recordingRunner, which sees the grant.
func (g recordingGateway) Infer(ctx context.Context, r *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
	m := g.ring.begin(ctx, r.GetModelName())
	resp, err := g.Gateway.Infer(context.WithValue(ctx, rememberedKey{}, m), r, emit)
	m.ended(err, m.waiting())
	return resp, err
}

// Admit implements messages.Gateway.
func (g recordingGateway) Admit(ctx context.Context, model string) (*messages.Grant, error) {
	m := g.ring.begin(ctx, model)
	grant, err := g.Gateway.Admit(ctx, model)
	if err != nil {
		m.ended(err, true)
		return nil, err
	}
	m.granted(grant)
	release := grant.Release
	grant.Release = func(o messages.Outcome) {
		m.ended(o.Err, false)
		release(o)
	}
	return grant, nil
}

// waiting tells whether the request never got a place.
func (m *remembered) waiting() bool {
	if m == nil {
		return false
	}
	m.ring.mu.Lock()
	defer m.ring.mu.Unlock()
	return m.request.Granted.IsZero()
}

// recordingRunner notes the places of the requests that the gateway runs itself.
type recordingRunner struct{ gateway.Runner }

// Run implements gateway.Runner.
func (r recordingRunner) Run(ctx context.Context, g *messages.Grant, q *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
	m, _ := ctx.Value(rememberedKey{}).(*remembered)
	m.granted(g)
	return r.Runner.Run(ctx, g, q, emit)
}

// door is the gateway as the edges see it.
func (d *daemon) door() messages.Gateway { return recordingGateway{d.gateway, d.requests} }

func (d *daemon) newRequestRing() *requestRing {
	return &requestRing{now: time.Now, pid: func(model string) int64 {
		return d.view.Model(messages.ModelActor(d.host, model)).GetWorker().GetPid()
	}}
}

// Why explains a model, a lease, a placement or a request, from the journal as it is now and from what is remembered of requests.
func (c control) Why(ctx context.Context, r *messages.WhyRequest) (*messages.Explanation, error) {
	q, err := reasons.Subject(r.GetSubject(), c.modelNamed, c.requestNamed)
	if err != nil {
		return nil, err
	}
	reading := reasons.Open(q)
	err = c.d.journal.Replay(ctx, journal.Query{Unknown: true}, func(rec messages.Recorded) error {
		reading.Take(rec)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return reading.Explain(reasons.Present{Now: time.Now(), Tries: c.d.cfg.Load.Retries + 1})
}

// modelNamed finds a model by name or alias.
func (c control) modelNamed(name string) (messages.ActorID, bool) {
	id := messages.ModelActor(c.d.host, c.canonical(name))
	return id, c.d.view.Model(id).GetSpec() != nil
}

func (c control) requestNamed(id string) (reasons.Request, bool) {
	r, model, ok := c.d.requests.find(id)
	if model == "" {
		model = r.Asked
	}
	if actor, known := c.modelNamed(model); known {
		r.Model = actor
	}
	return r, ok
}
