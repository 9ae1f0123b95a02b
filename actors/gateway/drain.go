package gateway

import (
	"cmp"
	"context"
	"time"

	"modelops/messages"
)

// AwaitCalm waits until no request waits at a model itself, whatever the routes say of its name.
func (g *Gateway) AwaitCalm(ctx context.Context, model string) error {
	g.mu.Lock()
	l := g.pools[model]
	g.mu.Unlock()
	for l != nil {
		l.mu.Lock()
		if len(l.waiters) == 0 {
			l.mu.Unlock()
			return nil
		}
		if l.emptied == nil {
			l.emptied = make(chan struct{})
		}
		emptied := l.emptied
		l.mu.Unlock()
		select {
		case <-emptied:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Drain closes an actor's worker for an attempt and waits until no request runs there. force, or the drain's deadline, ends those that do.
func (g *Gateway) Drain(ctx context.Context, id messages.ActorID, attempt uint64, force bool) error {
	g.mu.Lock()
	l := g.pools[messages.BaseOf(id.Name())]
	g.mu.Unlock()
	if l == nil {
		return nil
	}
	idle := l.shut(id, attempt)
	if idle == nil {
		return nil
	}
	if force {
		l.endAll(id)
	}
	patience := g.drainTimeout(l, id)
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		select {
		case <-idle:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			l.endAll(id)
			deadline.Reset(patience)
		}
	}
}

// drainTimeout is how long requests may go on at a worker that has to stop: long enough for long jobs, but short at a degraded worker, which
// may hang.
func (g *Gateway) drainTimeout(l *lockedPool, id messages.ActorID) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.pool.Endpoint(id); e != nil && e.Reported() {
		return g.o.DrainTimeout
	}
	return cmp.Or(g.figure.Load().DrainTimeout, g.o.DrainTimeout)
}

// shut closes an endpoint; nil when no request runs there.
func (l *lockedPool) shut(id messages.ActorID, attempt uint64) chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.pool.Close(id, attempt, time.Now())
	if e == nil || e.Running() == 0 {
		return nil
	}
	if l.drains[e] == nil {
		l.drains[e] = make(chan struct{})
	}
	return l.drains[e]
}

// endAll ends the requests at an endpoint.
func (l *lockedPool) endAll(id messages.ActorID) {
	l.mu.Lock()
	var ends []context.CancelCauseFunc
	for ticket, r := range l.pool.Running() {
		if r.Endpoint.ID() == id {
			ends = append(ends, l.running[ticket].end)
		}
	}
	l.mu.Unlock()
	for _, end := range ends {
		end(messages.Errorf(messages.Unavailable, id.String(), "the model is being unloaded").WithRetry(time.Second))
	}
}
