package pool

import (
	"slices"
	"time"

	"modelops/messages"
)

// Admit lets a request run (position 0), queues it at a position from 1 on, or refuses it.
func (p *Pool) Admit(r Request) (position int, err error) {
	now := r.Since
	p.demand.came(now)
	ready := p.readyFor(r.Only)
	if err := p.missing(r.Only, ready); err != nil {
		return 0, err
	}
	if ready {
		e, refusal, open := p.vacant(r.Only, now)
		switch {
		case open && r.Only.Anywhere() && p.spare(now) != nil: // it waits for one that sleeps or loads
		case refusal != nil && (open || p.waiting.n == 0):
			return 0, refusal
		case e != nil && p.waiting.n == 0 && p.host.Enter():
			p.start(e, r, now)
			return 0, nil
		}
	}
	if !ready {
		if err := p.Refuses(now); err != nil {
			return 0, err
		}
	}
	if err := p.full(now); err != nil {
		return 0, err
	}
	p.idleSince = time.Time{}
	if !p.Ready() && p.coldSince.IsZero() {
		p.coldSince = now
	}
	return p.waiting.push(r, p.order, now), nil
}

// full takes a place in the queues, or says which of them is full.
func (p *Pool) full(now time.Time) error {
	most := p.figures.Limits.MaxQueue
	if p.waiting.n >= most {
		return messages.Errorf(messages.BulkheadRejection, p.subject(), "Bulkhead rejection for 'inference': %d/%d capacity, %d/%d waiting",
			len(p.running), p.capacity(), p.waiting.n, most).
			WithRetry(p.RetryAfter(now)).WithHint("try again later, or raise resilience.bulkhead")
	}
	if !p.host.Queue() {
		c := p.host.Counts()
		return messages.Errorf(messages.BulkheadRejection, p.subject(), "Bulkhead rejection for 'inference': the host has %d/%d running, %d/%d waiting",
			c.Running, c.MaxRunning, c.Waiting, c.MaxWaiting).
			WithRetry(p.RetryAfter(now)).WithHint("try again later, or raise resilience.host")
	}
	return nil
}

// vacant is the ready endpoint with the fewest requests that may have one more, this host's before those of others; nil when none may. refusal
// says that the breakers of all endpoints let no request in; open, that they won't for a time.
func (p *Pool) vacant(only messages.Only, now time.Time) (best *Endpoint, refusal error, open bool) {
	var shut *Endpoint
	var rest time.Duration
	ready, refused, opened, places, wide := 0, 0, 0, p.places(), false
	for _, e := range p.endpoints {
		if !e.ready || !e.serves(only) {
			continue
		}
		if e.far {
			if best != nil && !best.far {
				break // this host's come first
			}
			if places = p.placesAt(e); ready == 0 || wide { // else it would wait for its turn at this host's workers alone, however long others keep that one busy
				wide, places = true, places+1
			}
		}
		ready++
		state := e.breaker.state(now)
		if state != Opened && e.running+e.others >= places {
			continue
		}
		ok, retry := e.breaker.allows(now)
		if ok {
			if best == nil || e.running+e.others < best.running+best.others {
				best = e
			}
			continue
		}
		refused++
		if state == Opened {
			opened++
		}
		if shut == nil || retry < rest {
			shut, rest = e, retry
		}
	}
	if best != nil || ready == 0 || refused < ready {
		return best, nil, false
	}
	return nil, p.breakerOpen(&shut.breaker, rest), opened == ready
}

// start lets a request run at an endpoint. It has its place on the host.
func (p *Pool) start(e *Endpoint, r Request, now time.Time) {
	e.breaker.enter(r.Ticket)
	p.running[r.Ticket] = Run{Request: r, Endpoint: e, attempt: e.view.GetAttempt(), Began: now}
	e.running++
	e.peak = max(e.peak, e.running)
	since(&e.outlier.quietSince, true, now)
	e.toldToSleep = false
	p.idleSince = time.Time{}
}

func (p *Pool) breakerOpen(b *breaker, retry time.Duration) error {
	return messages.Errorf(messages.CircuitBreakerOpen, p.subject(), "Circuit breaker open for 'inference' (failures: %d)", b.failures).
		WithRetry(retry).WithHint("the worker failed again and again: modelops logs " + p.name)
}

// Dispatched is what Dispatch decided.
type Dispatched struct {
	Granted []uint64 // tickets that run now, in this order
	Met     []uint64 // wants that ended: an endpoint is ready
	// WaitsForHost tells that only the host had no place for the next request.
	WaitsForHost bool
	// Stranded are requests whose only endpoint is gone, and Why says so: the caller must refuse them.
	Stranded []uint64
	Why      error
	// Refusal is set when the breakers of all endpoints are open: the caller must refuse every waiting request with it.
	Refusal error
}

// Dispatch lets waiting requests run as far as there are places.
func (p *Pool) Dispatch(now time.Time) (d Dispatched) {
	if len(p.wants) > 0 && p.Ready() {
		for _, w := range p.wants {
			d.Met = append(d.Met, w.Ticket)
		}
		p.wants = nil
	}
	d.Stranded, d.Why = p.stranded(now)
	for p.waiting.n > 0 {
		at, e, refusal := p.turn(now)
		if e == nil {
			d.Refusal = refusal
			return d // they wait for a place, or for what the probe finds
		}
		if !p.host.Enter() {
			d.WaitsForHost = true
			return d
		}
		r := p.waiting.lines[at].rs[0]
		p.waiting.pop(at)
		p.host.Unqueue(1)
		p.start(e, r, now)
		d.Granted = append(d.Granted, r.Ticket)
	}
	return d
}

// turn is the line whose head runs next, and where; no endpoint when none can. Requests that are bound to a place hold up no others.
func (p *Pool) turn(now time.Time) (at int, e *Endpoint, refusal error) {
	var free, vacant *Endpoint
	asked := false
	for i := range p.waiting.lines {
		l := &p.waiting.lines[i]
		if len(l.rs) == 0 || e != nil && !p.order.before(l.rs[0], p.waiting.lines[at].rs[0], now) {
			continue
		}
		switch {
		case !l.only.Anywhere():
			vacant, _, _ = p.vacant(l.only, now)
		case !asked:
			var open bool
			if free, refusal, open = p.vacant(l.only, now); !open || p.spare(now) != nil {
				refusal = nil
			}
			asked, vacant = true, free
		default:
			vacant = free
		}
		if vacant != nil {
			at, e = i, vacant
		}
	}
	return at, e, refusal
}

// Leave takes a ticket out of the queue; false when it wasn't waiting.
func (p *Pool) Leave(ticket uint64, now time.Time) bool {
	if !p.waiting.remove(ticket) {
		return false
	}
	p.host.Unqueue(1)
	p.rest(now)
	return true
}

// Finish takes a ticket out of its place and tells where it ran; nil when it didn't run. An outcome at a former worker of the endpoint says
// nothing about this one. breakerChanged tells that the endpoint's breaker opened or closed.
func (p *Pool) Finish(ticket uint64, o messages.Outcome, now time.Time) (at *Endpoint, breakerChanged bool) {
	r, ran := p.running[ticket]
	if !ran {
		return nil, false
	}
	delete(p.running, ticket)
	p.host.Leave()
	e, took := r.Endpoint, now.Sub(r.Began)
	e.running--
	p.served = true
	p.rest(now)
	p.recent.add(took)
	if r.attempt != e.view.GetAttempt() {
		return e, false
	}
	if o.Again { // this request has counted
		e.breaker.forgive(ticket)
		return e, false
	}
	e.outlier.saw(o, took, now)
	if e.running == 0 && !gaveUp(o) {
		e.outlier.quietSince = time.Time{}
	}
	switch {
	case o.Failed && (o.Unreachable || e.far || !p.figures.Trials):
		e.breaker.briefly = o.Unreachable
		p.lose(e, o, now)
		return e, e.breaker.record(ticket, true, now)
	case o.Failed:
		e.breaker.briefly = false
		changed := e.breaker.blame(ticket, now)
		e.suspicion.blames(o, e.breaker.failures >= e.breaker.threshold || e.outlier.often())
		return e, changed
	case o.Err != nil: // the caller left, or its request was invalid: no sign of the worker's health
		e.breaker.forgive(ticket)
		return e, false
	}
	e.suspicion.answered()
	return e, e.breaker.record(ticket, false, now)
}

// rest starts the idle time when nothing runs and nothing waits, and ends the pauses of the last Seek.
func (p *Pool) rest(now time.Time) {
	if p.waiting.n == 0 {
		p.coldSince = time.Time{}
	}
	if !p.Interested() { // a new request seeks at once
		p.seek.next, p.seek.pause = time.Time{}, 0
	}
	if len(p.running) == 0 && p.waiting.n == 0 && p.idleSince.IsZero() {
		p.idleSince = now
	}
}

// Update takes a new view of the model or of one of its replicas, on any host. A ready view of a drained attempt is stale and changes
// nothing, unless its engine slept since. A refusal says that the model can't be loaded: the caller must refuse every waiting request with it.
func (p *Pool) Update(v *messages.ModelView, now time.Time) (refusal error) {
	was, coming := p.Ready(), p.onItsWay() || p.sleeper() != nil
	e := p.endpointOf(v)
	fresh := e.view.GetAttempt() != v.Attempt
	failed := v.Phase == messages.ModelView_failed && (!e.far || p.seek.said == Placed) && (fresh || e.view.GetPhase() != messages.ModelView_failed)
	unloaded := e.base && !e.far && e.view.GetWanted() && !v.Wanted && !e.view.GetFreeOnly() // a move here that finds no room is no unload
	if e.base && !e.far && (v.Phase == messages.ModelView_absent || e.view.GetSpec().GetRevision() != v.GetSpec().GetRevision()) {
		p.failing = failing{} // it was unloaded, or is another model now
	}
	if e.base && v.Phase == messages.ModelView_waiting {
		p.failing.try = v.Error.Err()
	}
	e.view = v
	p.declare()
	if v.Phase == messages.ModelView_asleep || v.Phase == messages.ModelView_waking {
		e.closed = min(e.closed, v.Attempt-1)
	}
	p.judge(e, now)
	if fresh { // another worker: the failures of the former one don't count for it
		p.usualBefore = p.baseline(e)
		e.breaker, e.outlier, e.suspicion, e.toldToSleep = p.breakerTemplate, outlier{}, suspicion{}, false
	}
	if !e.base && v.Spec == nil && v.Phase == messages.ModelView_absent && e.running == 0 {
		p.endpoints = slices.DeleteFunc(p.endpoints, func(x *Endpoint) bool { return x == e })
	}
	if p.Ready() && !was {
		p.warmed(v, now)
	}
	lost := !p.onItsWay() && p.sleeper() == nil
	if coming && lost { // the endpoint of the last Seek is gone
		p.seek.next, p.seek.pause = time.Time{}, 0
	}
	if unloaded && lost && !failed {
		p.endWants()
	}
	switch {
	case !e.base:
	case p.declared.Spec == nil:
		return messages.Errorf(messages.ModelNotFound, p.subject(), "Model '%s' not found: its declaration was withdrawn", p.name)
	case failed && lost:
		return p.failing.add(p.loadError(v.Error.Err(), v.Id), now)
	}
	return nil
}

// endpointOf finds a view's endpoint, or adds it.
func (p *Pool) endpointOf(v *messages.ModelView) *Endpoint {
	id, err := messages.ParseActorID(v.Id)
	if err != nil {
		panic(err) // an actor's view always has its id
	}
	if e := p.Endpoint(id); e != nil {
		return e
	}
	_, replica := messages.ReplicaOf(id.Name())
	e := &Endpoint{id: id, base: !replica, far: p.figures.Apart && id.Host() != p.local, breaker: p.breakerTemplate}
	p.endpoints = append(p.endpoints, e)
	slices.SortFunc(p.endpoints, func(a, b *Endpoint) int { return a.before(b, p.local) })
	return e
}

// warmed begins a time with an endpoint.
func (p *Pool) warmed(v *messages.ModelView, now time.Time) {
	switch {
	case !p.coldSince.IsZero():
		p.cold.add(now.Sub(p.coldSince))
	case p.cold == 0 && v.LoadMs > 0:
		p.cold.add(time.Duration(v.LoadMs) * time.Millisecond)
	}
	p.coldSince, p.idleSince, p.served, p.failing = time.Time{}, time.Time{}, false, failing{}
	p.rest(now)
}

// Close lets no further request run at an attempt of an endpoint, and returns the endpoint; nil when there is none.
func (p *Pool) Close(id messages.ActorID, attempt uint64, now time.Time) *Endpoint {
	e := p.Endpoint(id)
	if e == nil {
		return nil
	}
	e.closed = max(e.closed, attempt)
	e.ready = false
	if p.waiting.n > 0 && !p.Ready() && p.coldSince.IsZero() {
		p.coldSince = now
	}
	return e
}

// RefuseAll empties the queue, ends the wants, and returns their tickets.
func (p *Pool) RefuseAll(now time.Time) (out []uint64) {
	out = p.waiting.tickets()
	for _, w := range p.wants {
		out = append(out, w.Ticket)
	}
	p.host.Unqueue(p.waiting.n)
	p.waiting, p.wants = queue{}, nil
	p.rest(now)
	return out
}

// Keep sets how long the model stays without requests, as the latest request says; nil = as declared, negative = until it is unloaded.
func (p *Pool) Keep(idle *time.Duration) { p.keep = idle }
