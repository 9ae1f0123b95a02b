package gateway

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"modelops/messages"
)

// admit lets a request run, queues it at a position from 1 on, or refuses it.
func (l *lane) admit(p pending) (position int, err error) {
	now := p.since
	l.demand.came(now)
	if l.ready() {
		s, refusal, open := l.vacant(p.ticket, now)
		switch {
		case refusal != nil && (open || l.waiting.n == 0):
			return 0, refusal
		case s != nil && l.waiting.n == 0 && l.host.enter():
			l.start(s, p, now)
			return 0, nil
		case s != nil:
			s.breaker.forgive(p.ticket)
		}
	}
	if err := l.full(now); err != nil {
		return 0, err
	}
	l.idleSince = time.Time{}
	if !l.ready() && l.coldSince.IsZero() {
		l.coldSince = now
	}
	return l.waiting.push(p, l.order, now), nil
}

// full takes a place in the queues, or says which of them is full.
func (l *lane) full(now time.Time) error {
	if l.waiting.n >= l.limits.MaxQueue {
		return messages.Errorf(messages.BulkheadRejection, l.subject(), "Bulkhead rejection for 'inference': %d/%d capacity, %d/%d waiting",
			len(l.running), l.limit(), l.waiting.n, l.limits.MaxQueue).
			WithRetry(l.expectedWait(l.waiting.n+1, now)).WithHint("try again later, or raise resilience.bulkhead")
	}
	if !l.host.queue() {
		h := l.host
		return messages.Errorf(messages.BulkheadRejection, l.subject(), "Bulkhead rejection for 'inference': the host has %d/%d running, %d/%d waiting",
			h.running.Load(), h.maxRunning.Load(), h.waiting.Load(), h.maxWaiting.Load()).
			WithRetry(l.expectedWait(l.waiting.n+1, now)).WithHint("try again later, or raise resilience.host")
	}
	return nil
}

// vacant is the worker with the fewest requests that may have one more; nil when none may. Its breaker's permit is taken: use it or
// forgive it. refusal says that the breakers of all workers let nobody in; open, that they won't for a time.
func (l *lane) vacant(ticket uint64, now time.Time) (best *seat, refusal error, open bool) {
	var shut *seat
	var rest time.Duration
	ready, refused, opened := 0, 0, 0
	for _, s := range l.byLoad() {
		if !s.ready {
			continue
		}
		ready++
		is := s.breaker.state(now) == Opened
		if !is && s.running >= l.places() {
			continue
		}
		ok, retry := s.breaker.admit(ticket, now)
		if ok {
			return s, nil, false
		}
		refused++
		if is {
			opened++
		}
		if shut == nil || retry < rest {
			shut, rest = s, retry
		}
	}
	if ready == 0 || refused < ready {
		return nil, nil, false
	}
	return nil, l.breakerOpen(&shut.breaker, rest), opened == ready
}

// byLoad are the seats, those with the fewest requests first.
func (l *lane) byLoad() []*seat {
	if len(l.seats) < 2 {
		return l.seats
	}
	out := slices.Clone(l.seats)
	slices.SortStableFunc(out, func(a, b *seat) int { return cmp.Compare(a.running, b.running) })
	return out
}

// start lets a request run at a worker. It has its place on the host.
func (l *lane) start(s *seat, p pending, now time.Time) {
	l.running[p.ticket] = run{pending: p, seat: s, attempt: s.view.GetAttempt(), began: now}
	s.running++
	s.nap = false
	l.idleSince = time.Time{}
}

func (l *lane) breakerOpen(b *breaker, retry time.Duration) error {
	return messages.Errorf(messages.CircuitBreakerOpen, l.subject(), "Circuit breaker open for 'inference' (failures: %d)", b.failures).
		WithRetry(retry).WithHint("the worker failed again and again: modelops logs " + l.model)
}

// pump lets waiting requests run as far as there are places. hungry tells that only the host had none; refusal, that the breakers of all
// workers are open.
func (l *lane) pump(now time.Time) (out []uint64, hungry bool, refusal error) {
	for {
		p, ok := l.waiting.first(l.order, now)
		if !ok {
			return out, false, nil
		}
		s, refusal, open := l.vacant(p.ticket, now)
		if s == nil && !open {
			return out, false, nil // they wait for a place, or for what the probe finds
		}
		if s == nil {
			return out, false, refusal
		}
		if !l.host.enter() {
			s.breaker.forgive(p.ticket)
			return out, true, nil
		}
		l.waiting.pop(p.class)
		l.host.unqueue(1)
		l.start(s, p, now)
		out = append(out, p.ticket)
	}
}

// leave takes a ticket out of the queue; false when it wasn't waiting.
func (l *lane) leave(ticket uint64, now time.Time) bool {
	if !l.waiting.remove(ticket) {
		return false
	}
	l.host.unqueue(1)
	l.rest(now)
	return true
}

// finish takes a ticket out of its place. What became of it at a former worker says nothing about this one.
func (l *lane) finish(ticket uint64, o messages.Outcome, now time.Time) (at *seat, breakerChanged bool) {
	r, ran := l.running[ticket]
	if !ran {
		return nil, false
	}
	delete(l.running, ticket)
	l.host.leave()
	s, took := r.seat, now.Sub(r.began)
	s.running--
	l.served = true
	l.rest(now)
	l.recent.add(took)
	if r.attempt != s.view.GetAttempt() {
		return s, false
	}
	s.vitals.saw(o, took, now)
	switch {
	case o.Failed:
		return s, s.breaker.record(ticket, true, now)
	case o.Err != nil: // the caller left, or was wrong: says nothing about the worker
		s.breaker.forgive(ticket)
		return s, false
	}
	return s, s.breaker.record(ticket, false, now)
}

// rest starts the idle time when nothing runs and nothing waits.
func (l *lane) rest(now time.Time) {
	if l.waiting.n == 0 {
		l.coldSince = time.Time{}
	}
	if len(l.running) == 0 && l.waiting.n == 0 && l.idleSince.IsZero() {
		l.idleSince = now
	}
}

// update takes a new view of the model or of one of its replicas. Ready views of a drained attempt come late and change nothing, unless
// its engine slept since.
func (l *lane) update(v *messages.ModelView, now time.Time) {
	was := l.ready()
	s := l.seat(v.Name)
	if s == nil {
		s = &seat{name: v.Name, breaker: l.fuse}
		l.seats = append(l.seats, s)
		slices.SortFunc(l.seats, func(a, b *seat) int {
			return cmp.Or(cmp.Compare(len(a.name), len(b.name)), strings.Compare(a.name, b.name))
		})
	}
	if v.Name == l.model {
		l.view = v
	}
	fresh := s.view.GetAttempt() != v.Attempt
	s.view = v
	if v.Phase == "asleep" || v.Phase == "waking" {
		s.closed = min(s.closed, v.Attempt-1)
	}
	s.ready = v.Phase == "ready" && v.Attempt > s.closed
	if fresh { // another worker: its predecessor's failures aren't its own
		s.breaker, s.vitals, s.nap = l.fuse, vitals{}, false
	}
	if v.Name != l.model && v.Spec == nil && v.Phase == "absent" && s.running == 0 {
		l.seats = slices.DeleteFunc(l.seats, func(x *seat) bool { return x == s })
	}
	if l.ready() && !was {
		l.warmed(v, now)
	}
}

// warmed begins a time with a worker.
func (l *lane) warmed(v *messages.ModelView, now time.Time) {
	switch {
	case !l.coldSince.IsZero():
		l.cold.add(now.Sub(l.coldSince))
	case l.cold == 0 && v.LoadMs > 0:
		l.cold.add(time.Duration(v.LoadMs) * time.Millisecond)
	}
	l.coldSince, l.idleSince, l.served = time.Time{}, time.Time{}, false
	l.rest(now)
}

// close lets nobody run any more at an attempt of a worker.
func (l *lane) close(s *seat, attempt uint64, now time.Time) {
	s.closed = max(s.closed, attempt)
	s.ready = false
	if l.waiting.n > 0 && !l.ready() && l.coldSince.IsZero() {
		l.coldSince = now
	}
}

// failAll empties the queue.
func (l *lane) failAll(now time.Time) (out []uint64) {
	out = l.waiting.tickets()
	l.host.unqueue(l.waiting.n)
	l.waiting = queue{}
	l.rest(now)
	return out
}
