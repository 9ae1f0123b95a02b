package gateway

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// routes is the immutable table from every name that a caller may use to who answers.
type routes struct {
	byName map[string]*target
}

// target is who answers for a name: a lane, and while a swap tries another model, that one for a share of the requests.
type target struct {
	to     *guarded
	canary *guarded // nil when none is tried
	share  uint64   // percent of the requests that go to the canary
	trial  *trial
	n      atomic.Uint64 // requests so far
}

// tried is the canary's lane when it is this request's turn; nil otherwise. A canary that can't take requests while it is watched has failed at this one.
func (t *target) tried() *guarded {
	if t.canary == nil {
		return nil
	}
	n := t.n.Add(1)
	if n*t.share/100 == (n-1)*t.share/100 { // spread evenly, not by chance
		return nil
	}
	t.canary.mu.Lock()
	ready := t.canary.lane.ready()
	t.canary.mu.Unlock()
	if !ready {
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
	old := g.views[v.Name]
	g.views[v.Name] = v
	l := g.lanes[name]
	if l == nil {
		l = g.newLane(name)
		g.lanes[name] = l
	}
	if name == v.Name && (old == nil || !proto.Equal(old.Spec, v.Spec)) {
		g.rebuild()
	}
	g.apply(l, v)
}

func (g *Gateway) newLane(name string) *guarded {
	id, f := messages.ModelActor(g.o.Host, name), g.figures(name)
	return &guarded{name: name, id: id, waiters: map[uint64]*waiter{}, running: map[uint64]*holder{}, drains: map[*seat]chan struct{}{}, figures: f,
		lane: lane{model: name, limits: f.Limits, order: g.order(), host: &g.host, running: map[uint64]run{}, view: &messages.ModelView{Id: id.String(), Name: name},
			fuse: breaker{threshold: f.FailureThreshold, reset: f.ResetTimeout}}}
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

func (g *Gateway) order() order { return order{maxWait: g.figure.Load().MaxWait} }

// rank of a priority class; an unknown one counts as the default one.
func (g *Gateway) rank(class string) int {
	f := g.figure.Load()
	if i := slices.Index(f.Classes, class); i >= 0 {
		return i
	}
	return max(slices.Index(f.Classes, f.DefaultClass), 0)
}

// Refigure takes all figures anew, after the configuration changed. Who runs or waits stays.
func (g *Gateway) Refigure() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refigureHost()
	for name, l := range g.lanes {
		f := g.figures(name)
		l.mu.Lock()
		l.figures, l.lane.limits, l.lane.order = f, f.Limits, g.order()
		l.lane.fuse.threshold, l.lane.fuse.reset = f.FailureThreshold, f.ResetTimeout
		for _, s := range l.lane.seats {
			s.breaker.threshold, s.breaker.reset = f.FailureThreshold, f.ResetTimeout
		}
		g.pump(l)
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
	own := map[string]*guarded{}
	for name, v := range g.views {
		if _, replica := messages.ReplicaOf(name); !replica && v.Spec != nil {
			own[name] = g.lanes[name]
		}
	}
	for name, l := range own {
		for _, alias := range g.views[name].Spec.Aliases {
			next.byName[alias] = &target{to: l}
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

func (g *Gateway) apply(l *guarded, v *messages.ModelView) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lane.update(v, time.Now())
	base := l.lane.view
	switch {
	case base.Spec == nil && v == base && len(l.waiters) > 0: // withdrawn: asking for it would be refused
		l.refuseAll(messages.Errorf(messages.ModelNotFound, l.id.String(), "Model '%s' not found: its declaration was withdrawn", l.name))
	case l.lane.ready():
		g.pump(l)
	case v == base && v.Phase == "failed":
		g.fail(l, v)
	case len(l.waiters) > 0 && wakes(base):
		// Unloaded or put to sleep while requests waited: they still want it.
		g.o.Door.Tell(context.Background(), l.id, &messages.EnsureModel{Reason: "requests wait for it"})
	}
}

// wakes tells whether a model must be asked to come when requests wait for it.
func wakes(v *messages.ModelView) bool {
	switch v.Phase {
	case "absent":
		return !v.Wanted
	case "asleep", "dozing":
		return true
	}
	return false
}

// fail tells everybody in the queue why the model can't be had. l is locked.
func (g *Gateway) fail(l *guarded, v *messages.ModelView) {
	why := v.Error.Err()
	if why == nil {
		why = messages.NewError(messages.ModelLoadError, v.Id, "the model failed to load")
	}
	if why.Code != messages.GPUUnavailable {
		why = messages.Errorf(messages.ModelLoadError, v.Id, "Failed to load model '%s': %s", v.Name, why.Message).WithHint(why.Hint).WithRetry(why.Retry).WithLog(why.Log)
	}
	l.refuseAll(why)
}
