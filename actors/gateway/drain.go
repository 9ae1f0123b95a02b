package gateway

import (
	"cmp"
	"context"
	"time"

	"modelops/messages"
)

// Drain closes a worker for an attempt and waits until nobody runs there. force, or the drain's deadline, ends those who do. model is the
// model's name or a replica's.
func (g *Gateway) Drain(ctx context.Context, model string, attempt uint64, force bool) error {
	g.mu.Lock()
	l := g.lanes[messages.BaseOf(model)]
	g.mu.Unlock()
	if l == nil {
		return nil
	}
	idle := l.shut(model, attempt)
	if idle == nil {
		return nil
	}
	if force {
		l.endAll(model)
	}
	patience := g.drainTimeout(l, model)
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		select {
		case <-idle:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			l.endAll(model)
			deadline.Reset(patience)
		}
	}
}

// drainTimeout is how long requests may go on at a worker that shall leave: a long job ends in peace, but not one at a worker that hangs.
func (g *Gateway) drainTimeout(l *guarded, model string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.lane.seat(model); s != nil && s.vitals.reported {
		return g.o.DrainTimeout
	}
	return cmp.Or(g.figure.Load().DrainTimeout, g.o.DrainTimeout)
}

// shut closes a worker; nil when nobody runs there.
func (l *guarded) shut(model string, attempt uint64) chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.lane.seat(model)
	if s == nil {
		return nil
	}
	l.lane.close(s, attempt, time.Now())
	if s.running == 0 {
		return nil
	}
	if l.drains[s] == nil {
		l.drains[s] = make(chan struct{})
	}
	return l.drains[s]
}

// endAll ends the requests at a worker.
func (l *guarded) endAll(model string) {
	l.mu.Lock()
	var ends []context.CancelCauseFunc
	for ticket, r := range l.lane.running {
		if r.seat.name == model {
			ends = append(ends, l.running[ticket].end)
		}
	}
	l.mu.Unlock()
	for _, end := range ends {
		end(messages.Errorf(messages.Unavailable, model, "the model is being unloaded").WithRetry(time.Second))
	}
}
