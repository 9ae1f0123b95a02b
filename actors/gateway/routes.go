package gateway

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/gateway/pool"
	"modelops/messages"
)

// routes is the immutable table from every name that a caller may use to who answers.
type routes struct {
	byName map[string]*target
}

// target is who answers for a name: a pool, and while a rollout tries another model, that model's for a share of the requests.
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

// Update takes the new view of a model or of a replica: routes change, waiting requests run, or hear that the model failed.
func (g *Gateway) Update(v *messages.ModelView) {
	g.mu.Lock()
	defer g.mu.Unlock()
	name := messages.BaseOf(v.Name)
	l := g.pools[name]
	if l == nil {
		l = g.newPool(name)
		g.pools[name] = l
	}
	if l.update(v) {
		g.rebuild() // before waiting requests are refused: a request that comes later finds no route to a withdrawn model
	}
	g.react(l, v)
}

// update changes the state of the pool only; declared tells that its declaration changed.
func (l *lockedPool) update(v *messages.ModelView) (declared bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.pool.Declaration().GetSpec()
	l.pool.Update(v, time.Now())
	return !proto.Equal(was, l.pool.Declaration().GetSpec())
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
	return pool.Figures{Limits: f.Limits, FailureThreshold: f.FailureThreshold, ResetTimeout: f.ResetTimeout, MaxWait: g.figure.Load().MaxWait}
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

// SetRoutes takes the names that lead elsewhere than to the model of that name or alias. A route to an unknown model counts for nothing.
func (g *Gateway) SetRoutes(moved []*messages.Route) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if slices.EqualFunc(moved, g.moved, func(a, b *messages.Route) bool { return proto.Equal(a, b) }) {
		return
	}
	g.moved = moved
	g.rebuild()
}

// rebuild makes the next table. A name of its own wins over another model's alias, a route over both.
func (g *Gateway) rebuild() {
	next := &routes{byName: map[string]*target{}}
	own := map[string]*lockedPool{}
	for name, l := range g.pools {
		if spec := l.spec(); spec != nil {
			own[name] = l
			for _, alias := range spec.Aliases {
				next.byName[alias] = &target{to: l}
			}
		}
	}
	for name, l := range own {
		next.byName[name] = &target{to: l}
	}
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
	for id, t := range g.trials { // who watches a trial has it already
		if trials[id] == nil && !t.watched.Load() {
			delete(g.trials, id)
		}
	}
	g.routes.Store(next)
}

// spec is the pool's declaration; nil when no host declares the name.
func (l *lockedPool) spec() *messages.ModelSpec {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pool.Declaration().GetSpec()
}

// react does for waiting requests what a view makes possible or necessary.
func (g *Gateway) react(l *lockedPool, v *messages.ModelView) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, replica := messages.ReplicaOf(v.Name)
	base := l.pool.Declaration()
	switch {
	case base.Spec == nil && !replica && len(l.waiters) > 0: // withdrawn: asking for it would be refused
		l.refuseAll(messages.Errorf(messages.ModelNotFound, l.id.String(), "Model '%s' not found: its declaration was withdrawn", l.name))
	case l.pool.Ready():
		g.dispatch(l)
	case !replica && v.Phase == "failed":
		g.fail(l, v)
	case len(l.waiters) > 0 && wakes(base):
		// Unloaded or put to sleep while requests waited: they still want it.
		g.o.Door.Tell(context.Background(), l.id, &messages.EnsureModel{Reason: "requests wait for it"})
	}
}

// wakes tells whether a model must be asked to load or wake when requests wait for it.
func wakes(v *messages.ModelView) bool {
	switch v.Phase {
	case "absent":
		return !v.Wanted
	case "asleep", "dozing":
		return true
	}
	return false
}

// fail tells every waiting request why the model can't be had. l is locked.
func (g *Gateway) fail(l *lockedPool, v *messages.ModelView) {
	why := v.Error.Err()
	if why == nil {
		why = messages.NewError(messages.ModelLoadError, v.Id, "the model failed to load")
	}
	if why.Code != messages.GPUUnavailable {
		why = messages.Errorf(messages.ModelLoadError, v.Id, "Failed to load model '%s': %s", v.Name, why.Message).WithHint(why.Hint).WithRetry(why.Retry).WithLog(why.Log)
	}
	l.refuseAll(why)
}
