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
	host   bulkhead
	figure atomic.Pointer[HostFigures]

	mu     sync.Mutex // guards views, lanes, who builds the next routes, and trials
	views  map[string]*messages.ModelView
	lanes  map[string]*guarded
	moved  []*messages.Route
	trials map[string]*trial
}

// guarded is a lane with its lock and those who wait at it.
type guarded struct {
	name    string           // the model's, for good
	id      messages.ActorID // of its actor
	figures Figures
	mu      sync.Mutex
	lane    lane
	waiters map[uint64]*waiter
	running map[uint64]*holder
	drains  map[*seat]chan struct{} // closed when nobody runs at a worker any more
}

// waiter is a request that waits.
type waiter struct {
	since    time.Time
	position int
	expected time.Duration
	asker    messages.Asker
	trial    *trial
	granted  chan admitted // one value
}

// holder is a request that runs.
type holder struct {
	asker messages.Asker
	end   context.CancelCauseFunc
}

// admitted is what a waiter hears: its grant, or why there is none.
type admitted struct {
	grant *messages.Grant
	err   error
}

// New makes a gateway without routes.
func New(o Options) *Gateway {
	g := &Gateway{o: o, views: map[string]*messages.ModelView{}, lanes: map[string]*guarded{}, trials: map[string]*trial{}}
	g.routes.Store(&routes{byName: map[string]*target{}})
	g.refigureHost()
	return g
}

// lookup finds who answers for a name or alias.
func (g *Gateway) lookup(name string) (*target, error) {
	if t, ok := g.routes.Load().byName[name]; ok {
		return t, nil
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

// place is Admit without the record of the request.
func (g *Gateway) place(ctx context.Context, model string) (*messages.Grant, error) {
	t, err := g.lookup(model)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, messages.AsError(err)
	}
	if l := t.tried(); l != nil {
		grant, err := g.admit(ctx, l, t.trial)
		if err == nil || ctx.Err() != nil {
			return grant, err
		}
		t.trial.record(true) // its canary refused: the model that is known to work answers
	}
	return g.admit(ctx, t.to, nil)
}

func (g *Gateway) admit(ctx context.Context, l *guarded, try *trial) (*messages.Grant, error) {
	asker := messages.AskerFrom(ctx)
	p := pending{ticket: g.next.Add(1), class: g.rank(asker.Class), since: time.Now()}
	l.mu.Lock()
	position, err := l.lane.admit(p)
	if err != nil {
		l.mu.Unlock()
		return nil, err
	}
	w := &waiter{since: p.since, asker: asker, trial: try}
	if position == 0 {
		grant := g.grant(l, p.ticket, w, 0)
		l.mu.Unlock()
		return grant, nil
	}
	w.position, w.granted = position, make(chan admitted, 1)
	w.expected = l.lane.expectedWait(w.position, p.since)
	l.waiters[p.ticket] = w
	wake := !l.lane.ready()
	if !wake {
		g.pump(l) // the host may have been full, and isn't any more
	}
	l.mu.Unlock()
	if wake {
		g.o.Door.Tell(ctx, l.id, &messages.EnsureModel{Reason: "a request waits for it"})
	}
	return g.wait(ctx, l, p.ticket, w)
}

// tellEvery is how often who waits hears where he stands.
const tellEvery = time.Second

func (g *Gateway) wait(ctx context.Context, l *guarded, ticket uint64, w *waiter) (*messages.Grant, error) {
	patience := l.patience()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	var tell <-chan time.Time
	if w.asker.Told != nil {
		tick := time.NewTicker(tellEvery)
		defer tick.Stop()
		tell = tick.C
		l.tell(ticket, w)
	}
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
		case <-tell:
			l.tell(ticket, w)
		case <-timeout.C:
			if l.resting() { // the model's own load deadline decides, not the queue's
				timeout.Reset(patience)
				continue
			}
			g.abandon(l, ticket, w)
			return nil, messages.Errorf(messages.BulkheadRejection, l.id.String(), "no place became free within %s", patience).
				WithRetry(l.expected()).WithHint("raise resilience.bulkhead.max_concurrent, or queue_timeout")
		}
	}
}

// tell says where a request stands.
func (l *guarded) tell(ticket uint64, w *waiter) {
	l.mu.Lock()
	at := l.placeOf(ticket, w, time.Now())
	l.mu.Unlock()
	if at.Position > 0 {
		w.asker.Told(at)
	}
}

// placeOf is where a request stands; its position is 0 when it no longer waits. l is locked.
func (l *guarded) placeOf(ticket uint64, w *waiter, now time.Time) messages.QueuePlace {
	position := l.lane.waiting.position(ticket, l.lane.order, now)
	if position == 0 {
		return messages.QueuePlace{}
	}
	at := messages.QueuePlace{Position: position, Waited: now.Sub(w.since), Expected: l.lane.expectedWait(position, now), WaitsFor: "a place"}
	if !l.lane.ready() {
		at.WaitsFor = l.lane.view.GetPhase()
	}
	return at
}

func (l *guarded) patience() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.figures.QueueTimeout
}

// expected is how long a request that comes now would wait.
func (l *guarded) expected() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lane.expectedWait(l.lane.waiting.n+1, time.Now())
}

// resting tells whether the lane waits for its model rather than for a place.
func (l *guarded) resting() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.lane.ready()
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
func (g *Gateway) grant(l *guarded, ticket uint64, w *waiter, queued time.Duration) *messages.Grant {
	v := l.lane.running[ticket].seat.view
	upstream := v.Name
	if v.GetSpec().GetUseModelName() != "" {
		upstream = v.Spec.UseModelName
	}
	var once sync.Once
	grant := &messages.Grant{Model: l.name, Replica: v.Name, Upstream: upstream, URL: strings.TrimSuffix(v.GetWorker().GetUrl(), "/"),
		Queued: queued, Position: w.position, Expected: w.expected}
	if g.o.APIKey != nil {
		grant.APIKey = g.o.APIKey(v.Spec)
	}
	ended, end := context.WithCancelCause(context.Background())
	l.running[ticket] = &holder{asker: w.asker, end: end}
	grant.Ended = ended
	grant.Release = func(o messages.Outcome) {
		once.Do(func() {
			end(nil)
			if w.trial != nil && (o.Failed || o.Err == nil) {
				w.trial.record(o.Failed)
			}
			g.release(l, ticket, o)
		})
	}
	return grant
}

func (g *Gateway) release(l *guarded, ticket uint64, o messages.Outcome) {
	now := time.Now()
	l.mu.Lock()
	h := l.running[ticket]
	delete(l.running, ticket)
	s, changed := l.lane.finish(ticket, o, now)
	l.lane.keep = h.asker.KeepAlive
	if changed {
		g.o.Door.Tell(context.Background(), messages.ModelActor(g.o.Host, s.name),
			&messages.ReportBreaker{State: s.breaker.state(now), Failures: uint32(s.breaker.failures)})
	}
	if done := l.drains[s]; done != nil && s.running == 0 {
		close(done)
		delete(l.drains, s)
	}
	first := g.host.feed()
	if first == nil {
		g.pump(l)
		l.mu.Unlock()
		return
	}
	g.host.starve(l)
	l.mu.Unlock()
	for next := first; next != nil; next = g.host.feed() { // the lane that waits longest for the host's places goes first
		next.mu.Lock()
		hungry := g.pump(next)
		next.mu.Unlock()
		if hungry {
			return
		}
	}
}

// pump wakes whoever may run now; hungry tells that only the host had no place for more. Their grants are made here, so that a drain by
// force finds them. An open breaker refuses who waits as it refuses who comes: nobody would wake them when it may be tried again. l is locked.
func (g *Gateway) pump(l *guarded) (hungry bool) {
	for {
		now := time.Now()
		run, hungry, refusal := l.lane.pump(now)
		for _, t := range run {
			if w, ok := l.waiters[t]; ok {
				delete(l.waiters, t)
				w.granted <- admitted{grant: g.grant(l, t, w, now.Sub(w.since))}
			}
		}
		if refusal != nil {
			l.refuseAll(refusal)
		}
		if !hungry {
			return false
		}
		g.host.starve(l)
		if !g.host.free() { // looked at after it is known to be hungry: whoever leaves from now on finds it
			return true
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
