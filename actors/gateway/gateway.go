package gateway

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"modelops/messages"
)

// Gateway is the hot path. The zero value isn't usable; New makes one.
type Gateway struct {
	o      Options
	routes atomic.Pointer[routes]
	next   atomic.Uint64

	mu    sync.Mutex // guards views, and who builds the next routes
	views map[string]*messages.ModelView
	lanes map[string]*guarded
}

// routes is the immutable table from every name a caller may use to its lane.
type routes struct {
	byName map[string]*guarded
}

// guarded is a lane with its lock and those who wait at it.
type guarded struct {
	name    string           // the model's, for good
	id      messages.ActorID // of its actor
	figures Figures
	mu      sync.Mutex
	lane    lane
	waiters map[uint64]*waiter
	cancels map[uint64]context.CancelCauseFunc // running, by ticket
	idle    chan struct{}                      // closed when a drain finds nobody running; nil when nobody drains
}

type waiter struct {
	since    time.Time
	position int
	granted  chan admitted // one value
}

// admitted is what a waiter hears: its grant, or why there is none.
type admitted struct {
	grant *messages.Grant
	err   error
}

// New makes a gateway without routes.
func New(o Options) *Gateway {
	g := &Gateway{o: o, views: map[string]*messages.ModelView{}, lanes: map[string]*guarded{}}
	g.routes.Store(&routes{byName: map[string]*guarded{}})
	return g
}

// lookup finds the lane for a name or alias.
func (g *Gateway) lookup(name string) (*guarded, error) {
	if l, ok := g.routes.Load().byName[name]; ok {
		return l, nil
	}
	subject := messages.ModelActor(g.o.Host, name).String()
	hint := "GET /v1/models or modelops models lists what there is"
	if near := g.nearest(name); near != "" {
		hint = fmt.Sprintf("did you mean %q? %s", near, hint)
	}
	return nil, messages.Errorf(messages.ModelNotFound, subject, "Model '%s' not found", name).WithHint(hint)
}

// nearest is the first known name that differs in case only, else the first that goes on where this one ends.
func (g *Gateway) nearest(name string) string {
	known := slices.Sorted(maps.Keys(g.routes.Load().byName))
	for _, alike := range []func(string) bool{
		func(k string) bool { return strings.EqualFold(k, name) },
		func(k string) bool { return name != "" && strings.HasPrefix(k, name) },
	} {
		if i := slices.IndexFunc(known, alike); i >= 0 {
			return known[i]
		}
	}
	return ""
}

// Admit waits until the model may take one more request.
func (g *Gateway) Admit(ctx context.Context, model string) (*messages.Grant, error) {
	l, err := g.lookup(model)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, messages.AsError(err)
	}
	ticket, now := g.next.Add(1), time.Now()
	l.mu.Lock()
	how, err := l.lane.admit(ticket, now)
	if err != nil {
		l.mu.Unlock()
		return nil, err
	}
	if how == granted {
		grant := g.grant(l, ticket, now, 0, 0)
		l.mu.Unlock()
		return grant, nil
	}
	w := &waiter{since: now, position: len(l.lane.waiting), granted: make(chan admitted, 1)}
	l.waiters[ticket] = w
	wake := !l.lane.ready
	l.mu.Unlock()
	if wake {
		g.o.Door.Tell(ctx, l.id, &messages.EnsureModel{Reason: "a request waits for it"})
	}
	return g.wait(ctx, l, ticket, w)
}

func (g *Gateway) wait(ctx context.Context, l *guarded, ticket uint64, w *waiter) (*messages.Grant, error) {
	patience := l.patience()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		select {
		case a := <-w.granted:
			if a.err == nil {
				g.o.Observer.QueueWait(l.name, a.grant.Queued)
			}
			return a.grant, a.err
		case <-ctx.Done():
			g.abandon(l, ticket, w)
			return nil, messages.AsError(context.Cause(ctx))
		case <-timeout.C:
			if l.resting() { // the model's own load deadline decides, not the queue's
				timeout.Reset(patience)
				continue
			}
			g.abandon(l, ticket, w)
			return nil, messages.Errorf(messages.BulkheadRejection, l.id.String(), "no place became free within %s", patience).
				WithRetry(patience / 4).WithHint("raise resilience.bulkhead.max_concurrent, or queue_timeout")
		}
	}
}

func (l *guarded) patience() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.figures.QueueTimeout
}

// resting tells whether the lane waits for its model rather than for a place.
func (l *guarded) resting() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.lane.ready
}

// abandon takes a waiting ticket out; when it was granted at the same moment the place goes to the next one.
func (g *Gateway) abandon(l *guarded, ticket uint64, w *waiter) {
	l.mu.Lock()
	_, waiting := l.waiters[ticket]
	if waiting {
		l.lane.leave(ticket, time.Now())
		delete(l.waiters, ticket)
	}
	l.mu.Unlock()
	if waiting {
		return
	}
	if a := <-w.granted; a.grant != nil {
		a.grant.Release(messages.Outcome{Err: context.Canceled})
	}
}

// grant makes the caller's side of a place. l is locked.
func (g *Gateway) grant(l *guarded, ticket uint64, began time.Time, queued time.Duration, position int) *messages.Grant {
	v := l.lane.view
	upstream := v.Name
	if v.GetSpec().GetUseModelName() != "" {
		upstream = v.Spec.UseModelName
	}
	var once sync.Once
	grant := &messages.Grant{Model: v.Name, Upstream: upstream, URL: strings.TrimSuffix(v.GetWorker().GetUrl(), "/"), Queued: queued, Position: position}
	if g.o.APIKey != nil {
		grant.APIKey = g.o.APIKey(v.Spec)
	}
	ended, end := context.WithCancelCause(context.Background())
	l.cancels[ticket] = end
	grant.Ended = ended
	grant.Release = func(o messages.Outcome) {
		once.Do(func() {
			end(nil)
			g.release(l, ticket, o, time.Since(began))
		})
	}
	return grant
}

func (g *Gateway) release(l *guarded, ticket uint64, o messages.Outcome, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	delete(l.cancels, ticket)
	if l.lane.finish(ticket, o, took, now) {
		state := l.lane.breaker.state(now)
		g.o.Door.Tell(context.Background(), l.id, &messages.ReportBreaker{State: state, Failures: uint32(l.lane.breaker.failures)})
	}
	if l.lane.breaker.state(now) == Opened { // as who comes now: nobody would wake them when it may be tried again
		l.refuseAll(l.lane.breakerOpen(l.lane.breaker.rest(now)))
	}
	if l.idle != nil && len(l.lane.running) == 0 {
		close(l.idle)
		l.idle = nil
	}
	g.pump(l)
}

// pump wakes whoever may run now. Their grants are made here, so that a drain by force finds them. l is locked.
func (g *Gateway) pump(l *guarded) {
	now := time.Now()
	for _, t := range l.lane.pump(now) {
		if w, ok := l.waiters[t]; ok {
			delete(l.waiters, t)
			w.granted <- admitted{grant: g.grant(l, t, now, now.Sub(w.since), w.position)}
		}
	}
}

// refuseAll tells everybody in the queue why there is no place. l is locked.
func (l *guarded) refuseAll(why error) {
	for _, t := range l.lane.failAll(time.Now()) {
		if w, ok := l.waiters[t]; ok {
			delete(l.waiters, t)
			w.granted <- admitted{err: why}
		}
	}
}

// Models lists the models as now known, with what runs and waits at each.
func (g *Gateway) Models() []*messages.ModelView {
	seen := map[*guarded]bool{}
	var out []*messages.ModelView
	for _, l := range g.routes.Load().byName {
		if seen[l] {
			continue
		}
		seen[l] = true
		out = append(out, l.snapshot())
	}
	slices.SortFunc(out, func(a, b *messages.ModelView) int { return strings.Compare(a.Name, b.Name) })
	return out
}
