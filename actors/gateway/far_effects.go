package gateway

import (
	"context"
	"time"

	"modelops/messages"
)

// Reach takes whether another host is reached. While it isn't, nothing is sent to its workers, and requests look for a place elsewhere.
func (g *Gateway) Reach(host string, up bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.away[host] == !up {
		return
	}
	if delete(g.away, host); !up {
		g.away[host] = true
	}
	for _, l := range g.pools {
		l.mu.Lock()
		l.pool.Reach(host, up, time.Now())
		g.dispatch(l)
		g.pursue(l)
		l.mu.Unlock()
	}
}

// Compare looks again which hosts' files of a model differ. Nothing new is sent to the worker of one that does; what runs there goes on.
func (g *Gateway) Compare() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range g.pools {
		l.mu.Lock()
		if refusal := g.compare(l); refusal != nil {
			l.refuse(l.pool.RefuseAll(time.Now()), refusal)
		}
		g.dispatch(l)
		g.pursue(l)
		l.mu.Unlock()
	}
}

// compare is Compare for one pool. l is locked.
func (g *Gateway) compare(l *lockedPool) (refusal error) {
	if g.o.Apart == nil {
		return nil
	}
	return l.pool.Compare(func(host string) error {
		if e := g.o.Apart(l.name, host); e != nil {
			return e
		}
		return nil
	}, time.Now())
}

// Loads takes what runs at the workers of another host, as it says.
func (g *Gateway) Loads(host string, loads []*messages.ModelLoad) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, load := range loads {
		l := g.pools[messages.BaseOf(load.Model)]
		if l == nil {
			continue
		}
		l.mu.Lock()
		l.pool.Load(messages.ModelActor(host, load.Model), int(load.Active), time.Now())
		g.dispatch(l)
		l.mu.Unlock()
	}
}

// placeHere gives what another host passed on a place at the worker that it names, which is one of this host. That host has looked after the
// caller's rights, aliases and rollouts.
func (g *Gateway) placeHere(ctx context.Context, model string, asked time.Time) (*messages.Grant, error) {
	only := messages.CallerFrom(ctx).Only
	l := g.routes.Load().own[model]
	if l == nil || only.Host != g.o.Host || only.Worker == "" {
		return nil, messages.Errorf(messages.ModelNotFound, messages.ModelActor(g.o.Host, model).String(), "Model '%s' not found on host %s", model, g.o.Host)
	}
	if err := ctx.Err(); err != nil {
		return nil, messages.AsError(err)
	}
	return g.admit(ctx, l, nil, asked)
}
