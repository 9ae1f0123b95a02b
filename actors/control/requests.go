package control

import (
	"context"
	"strings"
	"sync"
	"time"

	"modelops/actors/explain"
	"modelops/actors/gateway"
	"modelops/messages"
)

const (
	rememberedRequests = 4096
	longest            = 256 // bytes of a caller's text
)

// Requests remembers the latest requests for Why: a request isn't journaled, and most cause no decision. It holds no prompt and no answer.
// It implements gateway.Recorder.
type Requests struct {
	// Now is the time of the journal. Required.
	Now func() time.Time
	// PID is the process of a model actor's worker now; 0 = it has none. Required.
	PID func(model messages.ActorID) int64

	mu    sync.Mutex
	slots [rememberedRequests]*remembered
	next  uint64
}

// remembered is one request. The lock of all guards it.
type remembered struct {
	all     *Requests
	request explain.Request
	model   string // the canonical name, once a grant has told it
}

// Begin implements gateway.Recorder. A request without an id can't be asked for, and isn't remembered.
func (r *Requests) Begin(ctx context.Context, model string) gateway.Record {
	id := messages.MetaFrom(ctx).Correlation
	if id == "" {
		return (*remembered)(nil)
	}
	m := &remembered{all: r, request: explain.Request{ID: clipped(id), Asked: clipped(model), Began: r.Now()}}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slots[r.next%rememberedRequests] = m
	r.next++
	return m
}

// clipped bounds a caller's text, and copies it: the text may be part of a whole body. Half a rune at the cut is left out.
func clipped(s string) string {
	return strings.Clone(strings.ToValidUTF8(s[:min(len(s), longest)], ""))
}

// Granted implements gateway.Record.
func (m *remembered) Granted(g *messages.Grant) {
	if m == nil {
		return
	}
	pid := m.all.PID(g.Actor)
	m.all.mu.Lock()
	defer m.all.mu.Unlock()
	m.model = g.Model
	m.request.Granted, m.request.Position, m.request.URL, m.request.Pid = m.all.Now(), g.Position, g.URL, pid
	m.request.Sent++
}

// Ended implements gateway.Record. The text of an error is kept only when the request never got a place: then it is the gateway's. An
// engine's text could quote a prompt.
func (m *remembered) Ended(err error) {
	if m == nil {
		return
	}
	m.all.mu.Lock()
	defer m.all.mu.Unlock()
	if !m.request.Ended.IsZero() {
		return
	}
	m.request.Ended, m.request.Code = m.all.Now(), messages.CodeOf(err)
	if err != nil && m.request.Granted.IsZero() {
		m.request.Refusal = messages.AsError(err).Message
	}
}

// find is the latest request of an id, and its model's name where a grant has told it. Callers may choose ids, so several can have one.
func (r *Requests) find(id string) (request explain.Request, model string, ok bool) {
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
		return explain.Request{}, "", false
	}
	out := last.request
	out.Sent = sent
	return out, last.model, true
}
