package gateway

import (
	"cmp"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/gateway/pool"
	"modelops/messages"
)

// routes is the immutable table from every name that a caller may use to its target.
type routes struct {
	byName map[string]*target
	// declared are the aliases by which models are declared, whatever a rollout lets answer for them: a key's scope goes by what is asked for.
	declared map[string]string
	// own are the pools by the models' own names.
	own map[string]*lockedPool
}

// resolve is the own name of the model that a name is declared for, or the name.
func (r *routes) resolve(name string) string { return cmp.Or(r.declared[name], name) }

// target answers for a name: a pool, and while a rollout tries another model, that model's pool for a share of the requests.
type target struct {
	to     *lockedPool
	canary *lockedPool // nil when none is tried
	share  uint64      // percent of the requests that go to the canary
	trial  *trial
	n      atomic.Uint64 // requests so far
}

// tried is the canary's pool when it is this request's turn; nil otherwise. A canary that can't take requests while it is watched has failed at
// this one.
func (t *target) tried() *lockedPool {
	if t.canary == nil {
		return nil
	}
	n := t.n.Add(1)
	if n*t.share/100 == (n-1)*t.share/100 { // spread evenly, not by chance
		return nil
	}
	if t.canary.cold() {
		if t.trial.watched.Load() { // before, it may not have come back from a restart
			t.trial.record(true)
		}
		return nil
	}
	return t.canary
}

// Update takes the new view of a model or of a replica: routes change, waiting requests run, or are refused because the model failed.
func (g *Gateway) Update(v *messages.ModelView) {
	g.mu.Lock()
	defer g.mu.Unlock()
	name := messages.BaseOf(v.Name)
	l := g.pools[name]
	if l == nil {
		l = g.newPool(name)
		g.pools[name] = l
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	refusal := l.pool.Update(v, time.Now())
	if g.away[v.Host] {
		l.pool.Reach(v.Host, false, time.Now())
	}
	refusal = cmp.Or(refusal, g.compare(l))
	if len(g.gaveUp) > 0 {
		refusal = cmp.Or(refusal, l.pool.GaveUp(g.down))
	}
	here := l.pool.DeclaredAt(g.o.Host)
	if spec := l.pool.Declaration().GetSpec(); !proto.Equal(l.spec, spec) || l.here != here {
		l.spec, l.here = spec, here
		g.rebuild() // before waiting requests are refused: a request that comes later finds no route to a withdrawn model
	}
	if refusal != nil {
		l.refuse(l.pool.RefuseAll(time.Now()), refusal)
	}
	if ended := l.pool.EndedWants(); len(ended) > 0 {
		l.refuse(ended, unloaded(l.id))
	}
	g.dispatch(l)
	g.pursue(l)
	g.endPool(name, l)
}

func (g *Gateway) figures(model string) Figures {
	if g.o.FiguresOf != nil {
		return g.o.FiguresOf(model)
	}
	return g.o.Figures
}

func (g *Gateway) refigureHost() {
	f := HostFigures{}
	if g.o.HostFigures != nil {
		f = g.o.HostFigures()
	}
	g.figure.Store(&f)
	g.host.bound(f.Limits)
}

func (g *Gateway) poolFigures(f Figures) pool.Figures {
	return pool.Figures{Limits: f.Limits, FailureThreshold: f.FailureThreshold, ResetTimeout: f.ResetTimeout, HangTimeout: f.HangTimeout, MaxWait: g.figure.Load().MaxWait, Trials: g.o.Prober != nil, Apart: true}
}

// rank of a priority class; an unknown one counts as the default one.
func (g *Gateway) rank(class string) int {
	f := g.figure.Load()
	if i := slices.Index(f.Classes, class); i >= 0 {
		return i
	}
	return max(slices.Index(f.Classes, f.DefaultClass), 0)
}

// Refigure reads all figures again, after the configuration changed. Requests that run or wait stay.
func (g *Gateway) Refigure() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refigureHost()
	for name, l := range g.pools {
		f := g.figures(name)
		l.mu.Lock()
		l.queueTimeout = f.QueueTimeout
		l.pool.Configure(g.poolFigures(f))
		g.dispatch(l)
		l.mu.Unlock()
	}
}

// SetHost takes a new view of the host: routes of rollouts, and actors that stay down. Of another host only the routes count.
func (g *Gateway) SetHost(v *messages.HostView) {
	if v.Host != "" && v.Host != g.o.Host {
		g.SetFarRoutes(v.Host, v.Routes)
		return
	}
	g.SetRoutes(v.Routes)
	g.SetGaveUp(v.GaveUp)
}

// SetGaveUp takes the actors that crashed too often and stay down. Requests that wait for a model whose actor is one of them are refused.
func (g *Gateway) SetGaveUp(actors []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gaveUp = actors
	for _, l := range g.pools {
		l.mu.Lock()
		if refusal := l.pool.GaveUp(g.down); refusal != nil {
			l.refuse(l.pool.RefuseAll(time.Now()), refusal)
		}
		g.pursue(l)
		l.mu.Unlock()
	}
}

// down tells whether an actor stays down. g is locked.
func (g *Gateway) down(id messages.ActorID) bool { return slices.Contains(g.gaveUp, id.String()) }

// SetRoutes takes the names that lead to another model than the one of that name or alias. A route to an unknown model is ignored.
func (g *Gateway) SetRoutes(moved []*messages.Route) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if slices.EqualFunc(moved, g.moved, func(a, b *messages.Route) bool { return proto.Equal(a, b) }) {
		return
	}
	g.moved = moved
	g.rebuild()
}

// SetFarRoutes takes the routes of another host. They hold for requests that come in here too, but for names that this host declares or routes itself.
func (g *Gateway) SetFarRoutes(host string, moved []*messages.Route) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if slices.EqualFunc(moved, g.far[host], func(a, b *messages.Route) bool { return proto.Equal(a, b) }) {
		return
	}
	g.far[host] = moved
	g.rebuild()
}

// routeFar adds the routes of other hosts. A trial is of its own host and counts the requests that come in there: those from here get the old model.
func (g *Gateway) routeFar(next *routes) {
	for _, host := range slices.Sorted(maps.Keys(g.far)) {
		for _, r := range g.far[host] {
			to := next.own[r.To]
			here := slices.ContainsFunc(g.moved, func(own *messages.Route) bool { return own.Name == r.Name })
			if t := next.byName[r.Name]; t != nil {
				here = here || t.to.here
			}
			if to != nil && !here {
				next.byName[r.Name] = &target{to: to}
			}
		}
	}
}

// rebuild makes the next table. A name of its own wins over another model's alias, a route over both.
func (g *Gateway) rebuild() {
	next := &routes{byName: map[string]*target{}, declared: map[string]string{}, own: map[string]*lockedPool{}}
	own := next.own
	for name, l := range g.pools {
		if l.spec != nil {
			own[name] = l
			for _, alias := range l.spec.Aliases {
				next.byName[alias] = &target{to: l}
				next.declared[alias] = name
			}
		}
	}
	for name, l := range own {
		next.byName[name] = &target{to: l}
		delete(next.declared, name)
	}
	g.routeFar(next)
	trials := map[string]*trial{}
	for _, r := range g.moved {
		t := &target{to: own[r.To]}
		if t.to == nil {
			continue
		}
		if c := own[r.Canary]; c != nil {
			t.canary, t.share, t.trial = c, uint64(r.SharePct), g.trial(r.Swap)
			trials[r.Swap] = t.trial
		}
		next.byName[r.Name] = t
	}
	for id, t := range g.trials { // its watcher has it already
		if trials[id] == nil && !t.watched.Load() {
			delete(g.trials, id)
		}
	}
	g.routes.Store(next)
}
