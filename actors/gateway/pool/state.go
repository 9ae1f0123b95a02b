package pool

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"modelops/messages"
)

// Limits of one pool: MaxConcurrent requests at each endpoint, MaxQueue waiting in all.
type Limits struct {
	MaxConcurrent int
	MaxQueue      int
}

// Figures configure a pool. They may change while requests run and wait.
type Figures struct {
	Limits Limits
	// FailureThreshold failures in a row open an endpoint's breaker for ResetTimeout.
	FailureThreshold int
	ResetTimeout     time.Duration
	// MaxWait is after how much waiting a request goes before all classes; 0 = never.
	MaxWait time.Duration
	// Trials: failures don't open a breaker and callers that give up don't end a worker before a trial has confirmed them.
	Trials bool
	// HangTimeout is how long all trials may stay without an answer before a worker counts as one that hangs; 0 = 3 minutes.
	HangTimeout time.Duration
	// Apart tells that each host rules over its own workers: those of other hosts get requests only, and no hints, trials or reports.
	Apart bool
}

// Request is a request that waits or runs. Ticket identifies it within the host.
type Request struct {
	Ticket uint64
	Class  int // rank of its priority class: 0 goes first
	Since  time.Time
	// Before is how long it waited at another host already: it counts for its turn.
	Before time.Duration
	// Only is where it may run.
	Only messages.Only
	// Patience is how long its caller waits at most; 0 = without a bound that the pool knows.
	Patience time.Duration
}

// outlasts tells whether a request that waits may still wait at a time. end is zero for a time that doesn't come.
func (r Request) outlasts(end time.Time) bool {
	return !end.IsZero() && (r.Patience == 0 || !r.Since.Add(r.Patience).Before(end))
}

// Run is a request at an endpoint. Began is when it left the queue.
type Run struct {
	Request
	Endpoint *Endpoint
	Began    time.Time
	attempt  uint64
}

// Pool is the state of one model name's requests: which run at which endpoint, and which wait. Its methods must not be called concurrently.
type Pool struct {
	name            string
	local           string // the host whose declaration counts first
	figures         Figures
	breakerTemplate breaker // what a new endpoint's breaker is like
	order           order
	host            Host
	declared        *messages.ModelView // the view that Declaration returns
	endpoints       []*Endpoint         // this host's first, in order of their names
	running         map[uint64]Run
	waiting         queue
	// recent is how long a request keeps its place, cold how long requests wait for the first endpoint: the base of retry times.
	recent, cold average
	usualBefore  time.Duration // how long an answer took at workers that have been replaced; 0 = not known
	coldSince    time.Time     // since when requests wait for an endpoint; zero while none does
	// idleSince is when the last request ended or the first endpoint became ready; zero while a request runs or waits.
	idleSince time.Time
	// busyElsewhere is when another host last said that requests run there.
	busyElsewhere time.Time
	served        bool           // an endpoint that is ready has answered a request
	keep          *time.Duration // the idle time that the latest request asked for; nil = the declaration's
	demand        demand
	replaced      time.Time // when a degraded endpoint was last reported
	wants         []Request
	ended         []uint64 // wants that an unload ended, until they are told
	seek          seeking
	failing       failing
}

// Endpoint is a worker that serves the pool: a model actor's own, or a replica's.
type Endpoint struct {
	id        messages.ActorID
	base      bool // the model's own worker, not a replica's
	far       bool // another host rules over it
	view      *messages.ModelView
	ready     bool
	closed    uint64 // the newest attempt that was drained: a ready view of it is stale
	running   int
	down      bool      // its actor crashed too often and stays down
	away      bool      // its host can't be reached
	differs   error     // it serves another file under the model's name, so that nothing is sent to it; nil = it may serve
	lost      time.Time // a request didn't reach it: none is given to it until then
	peak      int       // the most that ran there since its host last said how many do
	others    int       // requests of other hosts that run there, as its host said last; only at a far one
	breaker   breaker
	outlier   outlier
	suspicion suspicion
	// toldToSleep is set from the hint to sleep until the next request.
	toldToSleep bool
	// toldToWake is the view at which the endpoint was last asked to wake.
	toldToWake   *messages.ModelView
	toldToWakeAt time.Time
	// Only at a base endpoint: the number of its replicas, and when its failed model was last asked to start its own worker again.
	scaling scaling
	revived time.Time
}

// average is a moving one; 0 = no sample yet.
type average time.Duration

func (a *average) add(d time.Duration) {
	if *a == 0 {
		*a = average(d)
	}
	*a += (average(d) - *a) / 8
}

// New makes the pool of a model name without endpoints. local is the host whose declaration counts before those of others; host is the bound
// over all pools, nil for none.
func New(name, local string, f Figures, host Host) *Pool {
	if host == nil {
		host = unbounded{}
	}
	p := &Pool{name: name, local: local, host: host, running: map[uint64]Run{},
		declared: &messages.ModelView{Id: messages.ModelActor(local, name).String(), Name: name}}
	p.Configure(f)
	return p
}

// Configure replaces the figures. Requests that run or wait stay.
func (p *Pool) Configure(f Figures) {
	p.figures, p.order = f, order{maxWait: f.MaxWait}
	p.breakerTemplate.threshold, p.breakerTemplate.reset = f.FailureThreshold, f.ResetTimeout
	for _, e := range p.endpoints {
		e.breaker.threshold, e.breaker.reset = f.FailureThreshold, f.ResetTimeout
	}
}

// Name is the model name that the pool serves.
func (p *Pool) Name() string { return p.name }

// Endpoints are the pool's workers, this host's first. The slice is the pool's own.
func (p *Pool) Endpoints() []*Endpoint { return p.endpoints }

// Endpoint finds an actor's endpoint; nil when it has none.
func (p *Pool) Endpoint(id messages.ActorID) *Endpoint {
	for _, e := range p.endpoints {
		if e.id == id {
			return e
		}
	}
	return nil
}

// Running are the requests that run, by ticket. The map is the pool's own.
func (p *Pool) Running() map[uint64]Run { return p.running }

// Waiting is how many requests wait.
func (p *Pool) Waiting() int { return p.waiting.n }

// Ready tells whether any endpoint may be given requests.
func (p *Pool) Ready() bool {
	return slices.ContainsFunc(p.endpoints, func(e *Endpoint) bool { return e.ready })
}

// Declaration is the view whose spec holds for the pool: this host's model if it declares the name, else the first that does by id, else a
// view without a spec.
func (p *Pool) Declaration() *messages.ModelView { return p.declared }

// DeclaredAt tells whether a host declares the model.
func (p *Pool) DeclaredAt(host string) bool {
	return slices.ContainsFunc(p.endpoints, func(e *Endpoint) bool { return e.base && e.id.Host() == host && e.view.GetSpec() != nil })
}

// declare finds the declaration again after a view changed.
func (p *Pool) declare() {
	var first *messages.ModelView
	for _, e := range p.endpoints {
		if !e.base {
			continue
		}
		if e.view.Spec != nil {
			p.declared = e.view
			return
		}
		if first == nil {
			first = e.view
		}
	}
	if first != nil {
		p.declared = first
	}
}

// ID is the model actor whose worker the endpoint is.
func (e *Endpoint) ID() messages.ActorID { return e.id }

// View is the endpoint's latest view. It must not be changed.
func (e *Endpoint) View() *messages.ModelView { return e.view }

// Ready tells whether the endpoint may be given requests.
func (e *Endpoint) Ready() bool { return e.ready }

// Running is how many requests run there.
func (e *Endpoint) Running() int { return e.running }

// Active is Running with the requests of other hosts, as far as they are known.
func (e *Endpoint) Active() int { return e.running + e.others }

// Reported tells whether the worker was reported as degraded and is to be replaced.
func (e *Endpoint) Reported() bool { return e.outlier.reported }

// Breaker is the state of the endpoint's breaker and its failures in a row.
func (e *Endpoint) Breaker(now time.Time) (state messages.ModelView_Breaker, failures int) {
	return e.breaker.state(now), e.breaker.failures
}

// Base tells whether the endpoint is a model's own worker, not a replica's.
func (e *Endpoint) Base() bool { return e.base }

// before orders endpoints: those of the local host first, then by host, a model's own worker before its replicas.
func (e *Endpoint) before(other *Endpoint, local string) int {
	return cmp.Or(
		-cmp.Compare(bit(e.id.Host() == local), bit(other.id.Host() == local)),
		strings.Compare(e.id.Host(), other.id.Host()),
		cmp.Compare(len(e.id.ID), len(other.id.ID)),
		strings.Compare(e.id.ID, other.id.ID))
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// places is how many requests may run at one endpoint.
func (p *Pool) places() int {
	if n := int(p.Declaration().GetSpec().GetConcurrencyLimit()); n > 0 {
		return min(n, p.figures.Limits.MaxConcurrent)
	}
	return p.figures.Limits.MaxConcurrent
}

// placesAt is how many requests may run at an endpoint, those of other hosts included. A far one has as many as its own host declares.
func (p *Pool) placesAt(e *Endpoint) int {
	if !e.far {
		return p.places()
	}
	if n := int(e.view.GetSpec().GetConcurrencyLimit()); n > 0 {
		return n
	}
	return p.figures.Limits.MaxConcurrent
}

// capacity is how many may run at all endpoints that are ready; at one endpoint when none is.
func (p *Pool) capacity() (n int) {
	for _, e := range p.endpoints {
		if e.ready {
			n += p.placesAt(e)
		}
	}
	if n == 0 {
		return p.places()
	}
	return n
}

func (p *Pool) subject() string { return p.Declaration().GetId() }

// WaitsFor says what a waiting request waits for: a place, or the phase of the endpoint that is nearest to being ready.
func (p *Pool) WaitsFor() string {
	if p.Ready() {
		return "a place"
	}
	for _, e := range p.endpoints {
		if e.onItsWay() {
			return e.view.GetPhase().String()
		}
	}
	if e := p.sleeper(); e != nil {
		return e.view.GetPhase().String()
	}
	return "placing"
}

// Undecided tells whether no decision has been made for requests that wait: no endpoint loads, drains or will try again, they don't merely
// wait for a place at a ready endpoint that works, and the scheduler neither placed nor postponed the model within the bounds of such a wait.
// turn is how long a placement's victims may take to leave.
func (p *Pool) Undecided(now time.Time, turn time.Duration) bool {
	ready := false
	for _, e := range p.endpoints {
		if e.down || e.out() {
			continue
		}
		switch e.view.GetPhase() {
		case messages.ModelView_absent, messages.ModelView_placing, messages.ModelView_failed:
		case messages.ModelView_ready:
			ready = true
		default:
			return false
		}
	}
	switch waited := now.Sub(p.oldest(now)); {
	case ready:
		return len(p.running) == 0
	case p.seek.said == Placed:
		return waited > p.figures.MaxWait+turn
	case p.seek.said == Waits:
		return waited > p.figures.MaxWait
	case p.seek.said == held:
		return false
	}
	return true
}

// Abandoned tells whether nothing is left to serve: no declaration, no worker, no request and no want.
func (p *Pool) Abandoned() bool {
	return p.declared.GetSpec() == nil && len(p.running) == 0 && !p.Interested() && !slices.ContainsFunc(p.endpoints, func(e *Endpoint) bool {
		return e.view.GetPhase() != messages.ModelView_absent && e.view.GetPhase() != messages.ModelView_failed || e.view.GetWorker() != nil
	})
}

// Position of a waiting ticket, from 1; 0 when it doesn't wait.
func (p *Pool) Position(ticket uint64, now time.Time) int {
	return p.waiting.position(ticket, p.order, now)
}

// ExpectedWait is how long the request at a position will wait, from the recent durations of requests and loads. 0 = it isn't known: nothing was
// measured yet, or the present requests or the present load take longer than what was measured.
func (p *Pool) ExpectedWait(position int, now time.Time) time.Duration {
	took, rounds := time.Duration(p.recent), (position+p.capacity()-1)/p.capacity()
	if p.Ready() {
		if p.slower(now) {
			return 0
		}
		return took * time.Duration(rounds)
	}
	left := time.Duration(p.cold)
	if !p.coldSince.IsZero() {
		left -= now.Sub(p.coldSince)
	}
	if left <= 0 || rounds > 1 && took == 0 {
		return 0
	}
	return left + took*time.Duration(rounds-1)
}

// slower tells whether every request that runs has run for so long that recent ones say nothing about its end.
func (p *Pool) slower(now time.Time) bool {
	for _, r := range p.running {
		if now.Sub(r.Began) <= 2*time.Duration(p.recent) {
			return false
		}
	}
	return len(p.running) > 0
}

// When a refused request is told to come again although the wait isn't known: after as long as the oldest running request has run, within bounds.
const (
	retryFirst   = time.Second
	retryLongest = 30 * time.Second
)

// RetryAfter is when a request that finds no place should come again.
func (p *Pool) RetryAfter(now time.Time) time.Duration {
	if known := p.ExpectedWait(p.waiting.n+1, now); known > 0 {
		return known
	}
	age := retryFirst
	for _, r := range p.running {
		age = max(age, now.Sub(r.Began))
	}
	return min(age, retryLongest)
}

// Idle is how long nothing ran or waited; 0 while something does.
func (p *Pool) Idle(now time.Time) time.Duration {
	if p.idleSince.IsZero() || len(p.running)+p.waiting.n > 0 {
		return 0
	}
	return now.Sub(p.idleSince)
}
