package gateway

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"modelops/actors/gateway/pool"
	"modelops/messages"
)

// Gateway admits requests and runs them. New makes one.
type Gateway struct {
	o      Options
	routes atomic.Pointer[routes]
	next   atomic.Uint64
	host   bulkhead
	figure atomic.Pointer[HostFigures]
	alive  func(context.Context, *messages.Grant) error // proofOf, made once: each grant carries it
	leave  chan struct{}                                // closed when the host stops: nothing waits from then on
	left   sync.Once

	mu     sync.Mutex             // guards the fields below, and the order in which routes are built; taken before a pool's lock
	pools  map[string]*lockedPool // by model name
	moved  []*messages.Route
	far    map[string][]*messages.Route // of other hosts, by host
	gaveUp []string                     // actors that crashed too often and stay down
	trials map[string]*trial
	away   map[string]bool // other hosts that can't be reached
}

// New makes a gateway without routes.
func New(o Options) *Gateway {
	o.StallAfter = cmp.Or(o.StallAfter, 15*time.Second)
	g := &Gateway{o: o, leave: make(chan struct{}), pools: map[string]*lockedPool{}, trials: map[string]*trial{}, far: map[string][]*messages.Route{}, away: map[string]bool{}}
	g.routes.Store(&routes{byName: map[string]*target{}})
	if o.Prober != nil {
		g.alive = g.proofOf
	}
	g.refigureHost()
	return g
}

// lookup finds the target of a name or alias. Who may not use a model isn't told of it.
func (g *Gateway) lookup(ctx context.Context, name string) (*target, error) {
	if t, ok := g.routes.Load().byName[name]; ok {
		return t, nil
	}
	subject := messages.ModelActor(g.o.Host, name).String()
	return nil, messages.Errorf(messages.ModelNotFound, subject, "Model '%s' not found", name).
		WithHint(messages.DidYouMean(name, g.known(ctx)) + "GET /v1/models or modelops models lists what there is")
}

// known are the names and aliases that the caller may use, sorted.
func (g *Gateway) known(ctx context.Context) []string {
	names := slices.Sorted(maps.Keys(g.routes.Load().byName))
	return slices.DeleteFunc(names, func(name string) bool { return g.allowed(ctx, name) != nil })
}

// allowed refuses a model beyond the scope of its caller's key, whether there is such a model or not.
func (g *Gateway) allowed(ctx context.Context, model string) error {
	caller := messages.CallerFrom(ctx)
	if caller.Scope == nil {
		return nil
	}
	return caller.AllowsInference(messages.ModelNamed(model, g.routes.Load().resolve))
}

// place is Admit without the record of the request, which has asked for a place since then.
func (g *Gateway) place(ctx context.Context, model string, asked time.Time) (*messages.Grant, error) {
	if messages.PeerFrom(ctx) != "" {
		return g.placeHere(ctx, model, asked)
	}
	if err := g.allowed(ctx, model); err != nil {
		return nil, err
	}
	if only := messages.CallerFrom(ctx).Only.Host; only != "" && only != g.o.Host && g.o.Member != nil && !g.o.Member(only) {
		return nil, messages.NoMember(only)
	}
	t, err := g.lookup(ctx, model)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, messages.AsError(err)
	}
	if l := t.tried(); l != nil {
		grant, err := g.admit(ctx, l, t.trial, asked)
		if err == nil || ctx.Err() != nil || messages.CodeOf(err) == messages.Cancelled {
			return grant, err
		}
		t.trial.record(true) // its canary refused: the old model answers
	}
	return g.admit(ctx, t.to, nil, asked)
}

func (g *Gateway) admit(ctx context.Context, l *lockedPool, try *trial, asked time.Time) (*messages.Grant, error) {
	caller := messages.CallerFrom(ctx)
	r := pool.Request{Ticket: g.next.Add(1), Class: g.rank(caller.Class), Since: time.Now(), Only: caller.Only}
	l.mu.Lock()
	if l.gone {
		l.mu.Unlock()
		return nil, messages.Errorf(messages.ModelNotFound, l.id.String(), "Model '%s' not found: its declaration was withdrawn", l.name)
	}
	if caller.Only.Worker != "" {
		r.Before = max(r.Since.Sub(asked), 0)
	}
	until, _ := ctx.Deadline()
	r.Patience = l.patienceOf(r.Since, asked, until)
	position, err := l.pool.Admit(r)
	if err != nil {
		l.mu.Unlock()
		return nil, err
	}
	if position == 0 {
		grant := g.grant(l, r.Ticket, caller, try, r.Since)
		l.mu.Unlock()
		return grant, nil
	}
	if g.leaving() {
		l.pool.Leave(r.Ticket, r.Since)
		l.mu.Unlock()
		return nil, g.stopped()
	}
	w := &waiter{since: r.Since, position: position, caller: caller, meta: messages.MetaFrom(ctx), trial: try, granted: make(chan admitted, 1)}
	w.expected = l.pool.ExpectedWait(w.position, r.Since)
	l.waiters[r.Ticket] = w
	if l.pool.Ready() {
		g.dispatch(l) // the host may have been full, and isn't any more
	}
	g.pursue(l)
	l.mu.Unlock()
	return g.wait(ctx, l, r.Ticket, w, asked)
}

// tellEvery is how often a caller is told its request's position.
const tellEvery = time.Second

func (g *Gateway) wait(ctx context.Context, l *lockedPool, ticket uint64, w *waiter, asked time.Time) (*messages.Grant, error) {
	patience := l.patience()
	timeout := time.NewTimer(patience - w.since.Sub(asked))
	defer timeout.Stop()
	var tell <-chan time.Time
	if w.caller.OnQueued != nil {
		tick := time.NewTicker(tellEvery)
		defer tick.Stop()
		tell = tick.C
		g.tell(l, ticket, w)
	}
	for {
		select {
		case a := <-w.granted:
			if a.err == nil {
				g.o.Observer.QueueWait(l.name, a.grant.Queued)
			}
			return a.grant, a.err
		case <-ctx.Done():
			l.abandon(ticket, w)
			return nil, messages.AsError(context.Cause(ctx))
		case <-g.leave:
			l.abandon(ticket, w)
			return nil, g.stopped()
		case <-tell:
			g.tell(l, ticket, w)
		case <-timeout.C:
			why := w.told(g.overdue(l, w.caller.Only, patience))
			l.abandon(ticket, w)
			return nil, why
		}
	}
}
