package gateway

import (
	"slices"
	"time"

	"modelops/messages"
)

// Limits of one lane.
type Limits struct {
	MaxConcurrent int
	MaxQueue      int
}

// lane is the pure state of one model's requests: who runs, who waits. Tickets are opaque numbers.
type lane struct {
	limits  Limits
	view    *messages.ModelView
	ready   bool
	closed  uint64 // the newest attempt that was drained: its ready views are of the past
	running map[uint64]bool
	waiting []uint64
	breaker breaker
	// recent is a moving average of how long a request keeps its place; the base of retry times.
	recent time.Duration
	// idleSince is when the last request ended or the model became ready; zero while one runs or waits.
	idleSince time.Time
	served    bool // this worker has answered a request
}

type admission int

const (
	granted admission = iota
	queued
)

func (l *lane) name() string { return l.view.GetName() }

func (l *lane) limit() int {
	if n := int(l.view.GetSpec().GetConcurrencyLimit()); n > 0 {
		return min(n, l.limits.MaxConcurrent)
	}
	return l.limits.MaxConcurrent
}

// admit lets a ticket run, queues it, or refuses it.
func (l *lane) admit(ticket uint64, now time.Time) (admission, error) {
	l.idleSince = time.Time{}
	if l.ready && len(l.waiting) == 0 && len(l.running) < l.limit() {
		if ok, retry := l.breaker.admit(now); !ok {
			return 0, l.breakerOpen(retry)
		}
		l.running[ticket] = true
		return granted, nil
	}
	if l.ready && l.breaker.state(now) == Opened {
		_, retry := l.breaker.admit(now)
		return 0, l.breakerOpen(retry)
	}
	if len(l.waiting) >= l.limits.MaxQueue {
		return 0, messages.Errorf(messages.BulkheadRejection, l.subject(), "Bulkhead rejection for 'inference': %d/%d capacity, %d/%d waiting",
			len(l.running), l.limit(), len(l.waiting), l.limits.MaxQueue).
			WithRetry(l.expectedWait(len(l.waiting) + 1)).WithHint("try again later, or raise resilience.bulkhead")
	}
	l.waiting = append(l.waiting, ticket)
	return queued, nil
}

func (l *lane) subject() string { return l.view.GetId() }

func (l *lane) breakerOpen(retry time.Duration) error {
	return messages.Errorf(messages.CircuitBreakerOpen, l.subject(), "Circuit breaker open for 'inference' (failures: %d)", l.breaker.failures).
		WithRetry(retry).WithHint("the worker failed again and again: modelops logs " + l.name())
}

// expectedWait is how long the request at a position will wait, from what requests took of late.
func (l *lane) expectedWait(position int) time.Duration {
	took := max(l.recent, 10*time.Millisecond)
	rounds := (position + l.limit() - 1) / max(l.limit(), 1)
	return max(took*time.Duration(rounds), 100*time.Millisecond)
}

// pump lets waiting tickets run as far as there are places.
func (l *lane) pump(now time.Time) (out []uint64) {
	for l.ready && len(l.waiting) > 0 && len(l.running) < l.limit() {
		if ok, _ := l.breaker.admit(now); !ok {
			break
		}
		t := l.waiting[0]
		l.waiting = l.waiting[1:]
		l.running[t] = true
		out = append(out, t)
	}
	return out
}

// leave takes a ticket out of the queue; false when it wasn't waiting.
func (l *lane) leave(ticket uint64) bool {
	i := slices.Index(l.waiting, ticket)
	if i < 0 {
		return false
	}
	l.waiting = slices.Delete(l.waiting, i, i+1)
	return true
}

// finish takes a ticket out of its place.
func (l *lane) finish(ticket uint64, o messages.Outcome, took time.Duration, now time.Time) (breakerChanged bool) {
	delete(l.running, ticket)
	l.served = true
	l.rest(now)
	if l.recent == 0 {
		l.recent = took
	}
	l.recent += (took - l.recent) / 8
	switch {
	case o.Failed:
		return l.breaker.record(true, now)
	case o.Err != nil: // the caller left, or was wrong: says nothing about the worker
		l.breaker.forgive()
		return false
	}
	return l.breaker.record(false, now)
}

// rest starts the idle time when nothing runs and nothing waits.
func (l *lane) rest(now time.Time) {
	if len(l.running) == 0 && len(l.waiting) == 0 && l.idleSince.IsZero() {
		l.idleSince = now
	}
}

// idle is how long nothing ran or waited; 0 while something does.
func (l *lane) idle(now time.Time) time.Duration {
	if l.idleSince.IsZero() || len(l.running)+len(l.waiting) > 0 {
		return 0
	}
	return now.Sub(l.idleSince)
}

// expired tells whether the model's idle time is over: it should be unloaded. A limit of 0 unloads after the first request, not
// before it.
func (l *lane) expired(now time.Time) bool {
	spec := l.view.GetSpec()
	limit := spec.GetIdleMs()
	if spec == nil || spec.IdleMs == nil || limit < 0 || !l.ready || spec.Pinned || l.idleSince.IsZero() || len(l.running)+len(l.waiting) > 0 {
		return false
	}
	if limit == 0 && !l.served {
		return false
	}
	return l.idle(now) >= time.Duration(limit)*time.Millisecond
}

// update takes a new view of the model. Ready views of a drained attempt come late and change nothing.
func (l *lane) update(v *messages.ModelView, now time.Time) {
	fresh := l.view.GetAttempt() != v.Attempt
	was := l.ready
	l.view = v
	l.ready = v.Phase == "ready" && v.Attempt > l.closed
	if l.ready && !was {
		l.idleSince, l.served = time.Time{}, false
		l.rest(now)
	}
	if fresh { // another worker: its predecessor's failures aren't its own
		l.breaker = breaker{threshold: l.breaker.threshold, reset: l.breaker.reset}
	}
}

// close lets nobody run any more for an attempt.
func (l *lane) close(attempt uint64) {
	l.closed = max(l.closed, attempt)
	l.ready = false
}

// failAll empties the queue.
func (l *lane) failAll() (out []uint64) {
	out, l.waiting = l.waiting, nil
	return out
}
