package gateway

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"modelops/actors/gateway/pool"
	"modelops/messages"
)

// lockedPool is a pool with its lock, and the goroutines' side of its tickets.
type lockedPool struct {
	name         string              // the model's, for good
	id           messages.ActorID    // of its actor on this host
	spec         *messages.ModelSpec // its declaration; nil when no host declares it. The gateway's lock guards it
	here         bool                // this host declares it; with spec, under the gateway's lock
	queueTimeout time.Duration

	mu      sync.Mutex
	pool    *pool.Pool
	waiters map[uint64]*waiter
	running map[uint64]*held
	wants   map[uint64]*waiter
	drains  map[*pool.Endpoint]chan struct{} // closed when no request runs at an endpoint any more
	emptied chan struct{}                    // closed when no request waits any more; nil while nobody asks
	endSeek context.CancelFunc               // of the Seek that runs; nil when none does
	pausing bool                             // a timer for the next Seek runs
	gone    bool                             // the name has no declaration and no worker any more: the gateway has let the pool go
}

// waiter is a request that waits.
type waiter struct {
	since    time.Time
	position int
	expected time.Duration
	caller   messages.Caller
	meta     messages.Meta
	trial    *trial
	granted  chan admitted // one value
}

// admitted is the result of a wait: a grant, or the reason why there is none.
type admitted struct {
	grant *messages.Grant
	err   error
}

// held is a request that runs: the caller's grant and what its release needs, in one allocation.
type held struct {
	grant    messages.Grant
	released atomic.Bool
	g        *Gateway
	l        *lockedPool
	ticket   uint64
	caller   messages.Caller
	trial    *trial
	end      context.CancelCauseFunc
}

func (g *Gateway) newPool(name string) *lockedPool {
	f := g.figures(name)
	return &lockedPool{name: name, id: messages.ModelActor(g.o.Host, name), queueTimeout: f.QueueTimeout,
		pool:    pool.New(name, g.o.Host, g.poolFigures(f), &g.host),
		waiters: map[uint64]*waiter{}, wants: map[uint64]*waiter{}, running: map[uint64]*held{}, drains: map[*pool.Endpoint]chan struct{}{}}
}

// grant makes the caller's side of a place. l is locked.
func (g *Gateway) grant(l *lockedPool, ticket uint64, caller messages.Caller, try *trial, now time.Time) *messages.Grant {
	e := l.pool.Running()[ticket].Endpoint
	v := e.View()
	upstream := v.Name
	if v.GetSpec().GetUseModelName() != "" {
		upstream = v.Spec.UseModelName
	}
	h := &held{g: g, l: l, ticket: ticket, caller: caller, trial: try,
		grant: messages.Grant{Began: now, Actor: e.ID(), Attempt: v.GetAttempt(), Alive: g.alive, Model: l.name, Replica: v.Name, Upstream: upstream, URL: strings.TrimSuffix(v.GetWorker().GetUrl(), "/")}}
	if e.Far() {
		h.grant.Host, h.grant.Alive, h.grant.URL = e.ID().Host(), nil, messages.PeerURL(e.ID().Host(), v.Name)
	}
	if g.o.Address != nil && strings.Contains(h.grant.URL, "${") {
		h.grant.URL = g.o.Address(v.Name, h.grant.URL)
	}
	if g.o.APIKey != nil && !e.Far() {
		h.grant.APIKey = g.o.APIKey(v.Spec)
	}
	h.grant.Ended, h.end = context.WithCancelCause(context.Background())
	h.grant.Release = h.release
	l.running[ticket] = h
	return &h.grant
}

// release gives the place back, once.
func (h *held) release(o messages.Outcome) {
	if h.released.Swap(true) {
		return
	}
	h.end(nil)
	if h.trial != nil && (o.Failed && !o.Again || !o.Failed && o.Err == nil) {
		h.trial.record(o.Failed)
	}
	h.g.release(h, o)
}

func (g *Gateway) release(h *held, o messages.Outcome) {
	now := time.Now()
	l := h.l
	l.mu.Lock()
	delete(l.running, h.ticket)
	o.Caller = h.caller.Fingerprint
	e, changed := l.pool.Finish(h.ticket, o, now)
	l.pool.Keep(h.caller.KeepAlive)
	if changed {
		g.tellBreaker(e, now)
	}
	if o.Failed {
		g.examine(l)
		if o.Unreachable {
			g.pursue(l)
		}
	}
	if done := l.drains[e]; done != nil && e.Running() == 0 {
		close(done)
		delete(l.drains, e)
	}
	first, waits := pool.Left(&g.host, l)
	if !waits {
		g.dispatch(l)
		l.mu.Unlock()
		return
	}
	l.mu.Unlock()
	pool.Turns(&g.host, first, func(next *lockedPool) bool {
		next.mu.Lock()
		defer next.mu.Unlock()
		return g.dispatch(next)
	})
}

// tellBreaker reports an endpoint's breaker to its actor, if it is one of this host.
func (g *Gateway) tellBreaker(e *pool.Endpoint, now time.Time) {
	if e.Far() {
		return
	}
	state, failures := e.Breaker(now)
	g.o.Door.Tell(context.Background(), e.ID(), &messages.ReportBreaker{State: state, Failures: uint32(failures)})
}

// dispatch grants waiting requests the places that are free; full tells that the host has none for more. l is locked.
func (g *Gateway) dispatch(l *lockedPool) (full bool) {
	return pool.Fill(&g.host, l, func() bool { return g.dispatchOnce(l) })
}

// dispatchOnce makes the grants, so that a drain by force finds them. When all breakers are open the waiting requests are refused like new
// ones: no event would wake them when the breakers' time is over. l is locked.
func (g *Gateway) dispatchOnce(l *lockedPool) (waitsForHost bool) {
	now := time.Now()
	d := l.pool.Dispatch(now)
	for _, t := range d.Granted {
		if w, ok := l.waiters[t]; ok {
			delete(l.waiters, t)
			grant := g.grant(l, t, w.caller, w.trial, now)
			grant.Queued, grant.Position, grant.Expected = now.Sub(w.since), w.position, w.expected
			w.granted <- admitted{grant: grant}
		}
	}
	for _, t := range d.Met {
		l.wants[t].granted <- admitted{}
		delete(l.wants, t)
	}
	l.refuse(d.Stranded, d.Why)
	l.tellEmpty()
	if d.Refusal != nil {
		l.refuse(l.pool.RefuseAll(now), d.Refusal)
	}
	return d.WaitsForHost
}

// refuse tells requests and wants that the pool let go why there is no place. l is locked.
func (l *lockedPool) refuse(tickets []uint64, why error) {
	for _, t := range tickets {
		for _, waiters := range []map[uint64]*waiter{l.waiters, l.wants} {
			if w, ok := waiters[t]; ok {
				delete(waiters, t)
				w.granted <- admitted{err: w.told(why)}
			}
		}
	}
	l.tellEmpty()
	l.lose()
}

// told is a refusal as its caller may hear it: who has a key for some models only isn't told which others are pinned, and by whom.
func (w *waiter) told(why error) error {
	e := messages.AsError(why)
	if s := w.caller.Scope; e == nil || e.Code != messages.FailedPrecondition || s == nil || len(s.Models) == 0 {
		return why
	}
	return messages.NewError(e.Code, e.Subject, "pinned models leave it no place").WithRetry(e.Retry).WithHint("ask who runs this host: modelops unpin MODEL ends a pin")
}

// tellEmpty tells those who wait for it that no request waits. l is locked.
func (l *lockedPool) tellEmpty() {
	if l.emptied != nil && len(l.waiters) == 0 {
		close(l.emptied)
		l.emptied = nil
	}
}

// abandon takes a waiting ticket out; when it was granted at the same moment the place goes to the next request.
func (l *lockedPool) abandon(ticket uint64, w *waiter) {
	l.mu.Lock()
	_, waiting := l.waiters[ticket]
	if waiting {
		l.pool.Leave(ticket, time.Now())
		delete(l.waiters, ticket)
		l.tellEmpty()
		l.lose()
	}
	l.mu.Unlock()
	if waiting {
		return
	}
	if a := <-w.granted; a.grant != nil {
		a.grant.Release(messages.Outcome{Err: context.Canceled})
	}
}

// tell says where a request stands.
func (g *Gateway) tell(l *lockedPool, ticket uint64, w *waiter) {
	l.mu.Lock()
	at := g.placeOf(l, ticket, w, time.Now())
	l.mu.Unlock()
	if at.Position > 0 {
		w.caller.OnQueued(at)
	}
}

// placeOf is where a request stands; its position is 0 when it no longer waits. l is locked.
func (g *Gateway) placeOf(l *lockedPool, ticket uint64, w *waiter, now time.Time) messages.QueuePlace {
	position := l.pool.Position(ticket, now)
	if position == 0 {
		return messages.QueuePlace{}
	}
	return messages.QueuePlace{Position: position, Waited: now.Sub(w.since), Expected: l.pool.ExpectedWait(position, now), WaitsFor: g.waitsFor(l, w.caller.Only)}
}

// patienceOf is how long a request waits at most from a moment on: until its queue_timeout is over, or until its caller's deadline, which is zero
// when there is none. l is locked.
func (l *lockedPool) patienceOf(from, asked, until time.Time) time.Duration {
	patience := l.queueTimeout - from.Sub(asked)
	if !until.IsZero() {
		patience = min(patience, until.Sub(from))
	}
	return max(patience, 1)
}

func (l *lockedPool) patience() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queueTimeout
}

// overdue is the refusal of a request that has waited for as long as it may, whatever it waited for. A model that is on its way waits for its
// decisions, so what is wrong with the journal is the reason, and not the phase that it can't leave.
func (g *Gateway) overdue(l *lockedPool, only messages.Only, patience time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	retry := l.pool.RetryAfter(time.Now())
	if l.pool.Ready() {
		return messages.Errorf(messages.BulkheadRejection, l.id.String(), "no place became free within %s", patience).
			WithRetry(retry).WithHint("raise resilience.bulkhead.max_concurrent, or queue_timeout")
	}
	if hosts := g.emptied(l, only); len(hosts) > 0 {
		return messages.Errorf(messages.Unavailable, l.id.String(), "the model wasn't ready within %s: it waits for %s", patience, beingEmptied(hosts)).
			WithRetry(retry).WithHint(undo(hosts) + " lets it take models again")
	}
	hint := "modelops why " + l.name + " says why; resilience.bulkhead.queue_timeout bounds the wait"
	e := messages.AsError(l.pool.Delayed())
	if e == nil && g.o.JournalError != nil {
		e = messages.AsError(g.o.JournalError())
	}
	if e != nil {
		return messages.Errorf(e.Code, l.id.String(), "the model wasn't ready within %s: %s", patience, e.Message).WithRetry(max(retry, e.Retry)).WithHint(hint)
	}
	return messages.Errorf(messages.Unavailable, l.id.String(), "the model wasn't ready within %s: it waits for %s", patience, l.pool.WaitsFor()).
		WithRetry(retry).WithHint(hint)
}

// cold tells whether requests wait for an endpoint rather than for a place at one.
func (l *lockedPool) cold() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.pool.Ready()
}
