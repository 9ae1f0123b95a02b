package gateway

import (
	"context"
	"sync"
	"time"

	"modelops/actors/gateway/pool"
)

// Run sweeps the pools until ctx ends: models whose idle time is over are unloaded or put to sleep, their replicas become more or fewer, and
// degraded workers are replaced. Requests that wait for a journal are refused when it doesn't come back. A request that comes in the same instant waits in the pool, and the model is loaded again.
func (g *Gateway) Run(ctx context.Context) {
	if g.o.JournalError != nil {
		var beside sync.WaitGroup
		beside.Go(func() { g.followJournal(ctx) })
		defer beside.Wait()
	}
	tick := time.NewTicker(pool.SweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for _, h := range g.sweep(now) {
				g.o.Door.Tell(ctx, h.To, h.Command)
			}
		}
	}
}

func (g *Gateway) sweep(now time.Time) (out []pool.Hint) {
	g.mu.Lock()
	defer g.mu.Unlock()
	stay := g.routes.Load().tried()
	for name, l := range g.pools {
		l.mu.Lock()
		out = append(out, l.pool.Sweep(now, stay[l])...)
		for _, e := range l.pool.Endpoints() {
			if e.Running() > 0 {
				l.listen(e)
			}
		}
		g.examine(l)
		if l.pool.Waiting() > 0 {
			g.dispatch(l) // a breaker's time may be over
		}
		g.pursue(l)
		g.endPool(name, l)
		l.mu.Unlock()
	}
	return out
}

// endPool ends the pool of a withdrawn model when nothing is left of it. g and l are locked.
func (g *Gateway) endPool(name string, l *lockedPool) {
	if l.spec == nil && l.pool.Abandoned() && len(l.drains) == 0 {
		l.gone = true
		delete(g.pools, name)
	}
}

// tried are the pools of both models of each rollout that tries a canary: they stay loaded even when they are idle.
func (r *routes) tried() map[*lockedPool]bool {
	out := map[*lockedPool]bool{}
	for _, t := range r.byName {
		if t.canary != nil {
			out[t.to], out[t.canary] = true, true
		}
	}
	return out
}
