package gateway

import (
	"context"
	"time"

	"modelops/actors/gateway/pool"
	"modelops/messages"
)

// trialTime is how long a worker gets for a trial, and for a proof that it lives.
const trialTime = 10 * time.Second

// proofOf has the worker of a grant prove that it lives. Another load's worker is no proof.
func (g *Gateway) proofOf(ctx context.Context, grant *messages.Grant) error {
	g.mu.Lock()
	l := g.pools[messages.BaseOf(grant.Actor.Name())]
	g.mu.Unlock()
	var v *messages.ModelView
	if l != nil {
		v = l.viewOf(grant.Actor)
	}
	if v.GetAttempt() != grant.Attempt || v.GetWorker() == nil {
		return messages.NewError(messages.Unavailable, grant.Actor.String(), "the worker is gone")
	}
	ctx, cancel := context.WithTimeout(ctx, trialTime)
	defer cancel()
	return g.o.Prober.Alive(ctx, v.Spec, v.Worker)
}

func (l *lockedPool) viewOf(id messages.ActorID) *messages.ModelView {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.pool.Endpoint(id); e != nil {
		return e.View()
	}
	return nil
}

// examine starts the trials that are due. l is locked.
func (g *Gateway) examine(l *lockedPool) {
	if g.o.Prober == nil {
		return
	}
	for _, t := range l.pool.Trials(time.Now()) {
		go g.try(l, t, t.Endpoint.View())
	}
}

func (g *Gateway) try(l *lockedPool, t pool.Trial, v *messages.ModelView) {
	ctx, cancel := context.WithTimeout(context.Background(), trialTime)
	defer cancel()
	verdict := g.o.Prober.Works(ctx, v.GetSpec(), v.GetWorker(), t.Path)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listen(t.Endpoint)
	if l.pool.Tried(t, verdict, time.Now()) {
		g.tellBreaker(t.Endpoint, time.Now())
	}
	g.dispatch(l)
}

// listen tells the pool when an endpoint's requests last received bytes. l is locked.
func (l *lockedPool) listen(e *pool.Endpoint) {
	for ticket, r := range l.pool.Running() {
		if at, ok := l.running[ticket].grant.LastHeard(); ok && r.Endpoint == e {
			e.Heard(at)
		}
	}
}
