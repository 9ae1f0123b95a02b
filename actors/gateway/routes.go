package gateway

import (
	"context"
	"maps"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Update takes a model's new view: routes change, waiting requests run, or hear that the model failed.
func (g *Gateway) Update(v *messages.ModelView) {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.views[v.Name]
	g.views[v.Name] = v
	l := g.lanes[v.Name]
	if l == nil {
		l = &guarded{name: v.Name, id: messages.ModelActor(g.o.Host, v.Name), waiters: map[uint64]*waiter{}, cancels: map[uint64]context.CancelCauseFunc{},
			figures: g.figures(v.Name)}
		l.lane = lane{limits: l.figures.Limits, running: map[uint64]uint64{}, view: v,
			breaker: breaker{threshold: l.figures.FailureThreshold, reset: l.figures.ResetTimeout}}
		g.lanes[v.Name] = l
	}
	if old == nil || !proto.Equal(old.Spec, v.Spec) {
		g.rebuild()
	}
	g.apply(l, v)
}

func (g *Gateway) figures(model string) Figures {
	if g.o.FiguresOf != nil {
		return g.o.FiguresOf(model)
	}
	return g.o.Figures
}

// Refigure takes every lane's figures anew, after the configuration changed. Who runs or waits stays.
func (g *Gateway) Refigure() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, l := range g.lanes {
		f := g.figures(name)
		l.mu.Lock()
		l.figures, l.lane.limits = f, f.Limits
		l.lane.breaker.threshold, l.lane.breaker.reset = f.FailureThreshold, f.ResetTimeout
		g.pump(l)
		l.mu.Unlock()
	}
}

// rebuild makes the next table. A name of its own wins over another model's alias.
func (g *Gateway) rebuild() {
	next := &routes{byName: map[string]*guarded{}}
	for name, v := range g.views {
		for _, alias := range v.GetSpec().GetAliases() {
			next.byName[alias] = g.lanes[name]
		}
	}
	for name, v := range g.views {
		if v.Spec != nil {
			next.byName[name] = g.lanes[name]
		}
	}
	g.routes.Store(next)
}

func (g *Gateway) apply(l *guarded, v *messages.ModelView) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lane.update(v, time.Now())
	switch {
	case v.Spec == nil && len(l.waiters) > 0: // withdrawn: asking for it would be refused
		l.refuseAll(messages.Errorf(messages.ModelNotFound, l.id.String(), "Model '%s' not found: its declaration was withdrawn", l.name))
	case v.Phase == "failed":
		g.fail(l, v)
	case l.lane.ready:
		g.pump(l)
	case v.Phase == "absent" && !v.Wanted && len(l.waiters) > 0:
		// Unloaded while requests waited: they still want it.
		g.o.Door.Tell(context.Background(), l.id, &messages.EnsureModel{Reason: "requests wait for it"})
	}
}

// fail tells everybody in the queue why the model can't be had. l is locked.
func (g *Gateway) fail(l *guarded, v *messages.ModelView) {
	why := v.Error.Err()
	if why == nil {
		why = messages.NewError(messages.ModelLoadError, v.Id, "the model failed to load")
	}
	if why.Code != messages.GPUUnavailable {
		why = messages.Errorf(messages.ModelLoadError, v.Id, "Failed to load model '%s': %s", v.Name, why.Message).WithHint(why.Hint).WithRetry(why.Retry)
	}
	l.refuseAll(why)
}

// sweepEvery is how often idle models are looked for.
const sweepEvery = 250 * time.Millisecond

// Run unloads models whose idle time is over, until ctx ends. A request that comes in the same instant waits in the lane and brings the
// model back.
func (g *Gateway) Run(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for _, id := range g.expired(now) {
				g.o.Door.Tell(ctx, id, &messages.UnloadModel{Reason: "its idle time is over"})
			}
		}
	}
}

func (g *Gateway) expired(now time.Time) (out []messages.ActorID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range g.lanes {
		l.mu.Lock()
		if l.lane.expired(now) {
			out = append(out, l.id)
		}
		l.mu.Unlock()
	}
	return out
}

// Drain closes a lane for an attempt and waits until nobody runs there. force, or the drain's deadline, ends those who do.
func (g *Gateway) Drain(ctx context.Context, model string, attempt uint64, force bool) error {
	g.mu.Lock()
	l := g.lanes[model]
	g.mu.Unlock()
	if l == nil {
		return nil
	}
	idle := l.shut(attempt)
	if idle == nil {
		return nil
	}
	if force {
		l.endAll(model)
	}
	deadline := time.NewTimer(g.o.DrainTimeout)
	defer deadline.Stop()
	for {
		select {
		case <-idle:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			l.endAll(model)
			deadline.Reset(g.o.DrainTimeout)
		}
	}
}

// shut closes the lane; nil when nobody runs.
func (l *guarded) shut(attempt uint64) chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lane.close(attempt)
	if len(l.lane.running) == 0 {
		return nil
	}
	if l.idle == nil {
		l.idle = make(chan struct{})
	}
	return l.idle
}

func (l *guarded) endAll(model string) {
	l.mu.Lock()
	ends := maps.Clone(l.cancels)
	l.mu.Unlock()
	for _, end := range ends {
		end(messages.Errorf(messages.Unavailable, model, "the model is being unloaded").WithRetry(time.Second))
	}
}

func (l *guarded) snapshot() *messages.ModelView {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := proto.CloneOf(l.lane.view)
	v.Active, v.Queued = uint32(len(l.lane.running)), uint32(len(l.lane.waiting))
	now := time.Now()
	v.Breaker, v.IdleMs = l.lane.breaker.state(now), l.lane.idle(now).Milliseconds()
	return v
}

// Health says whether decisions make progress: the age of the oldest request on which nothing was decided, and the journal.
func (g *Gateway) Health() messages.Health {
	h := messages.Health{OK: true}
	now := time.Now()
	g.mu.Lock()
	for _, l := range g.lanes {
		h.OldestUndecided = max(h.OldestUndecided, l.undecided(now))
	}
	g.mu.Unlock()
	if h.OldestUndecided > g.o.StallAfter {
		h.Reasons = append(h.Reasons, "a request waits for "+h.OldestUndecided.Round(time.Second).String()+" without a decision on its model")
	}
	if g.o.JournalLag != nil {
		h.JournalLag = g.o.JournalLag()
	}
	if g.o.JournalError != nil {
		if err := g.o.JournalError(); err != nil {
			h.Reasons = append(h.Reasons, "journal: "+err.Error())
		}
	}
	h.OK = len(h.Reasons) == 0
	return h
}

// undecided is the age of the oldest waiter while nobody has decided anything for its model: not loading, not trying again, and
// not merely waiting for a place at a ready model that works.
func (l *guarded) undecided(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch l.lane.view.GetPhase() {
	case "absent", "placing", "failed":
	case "ready":
		if len(l.lane.running) > 0 {
			return 0
		}
	default:
		return 0
	}
	var oldest time.Duration
	for _, w := range l.waiters {
		oldest = max(oldest, now.Sub(w.since))
	}
	return oldest
}
