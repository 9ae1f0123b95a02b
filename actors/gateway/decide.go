package gateway

import (
	"slices"
	"time"

	"modelops/messages"
)

type admission int

const (
	granted admission = iota
	queued
)

// admit lets a ticket run, queues it, or refuses it.
func (l *lane) admit(ticket uint64, now time.Time) (admission, error) {
	if l.ready && len(l.waiting) == 0 && len(l.running) < l.limit() {
		if ok, retry := l.breaker.admit(ticket, now); !ok {
			return 0, l.breakerOpen(retry)
		}
		l.running[ticket], l.idleSince = l.view.GetAttempt(), time.Time{}
		return granted, nil
	}
	if l.ready && l.breaker.state(now) == Opened {
		return 0, l.breakerOpen(l.breaker.rest(now))
	}
	if len(l.waiting) >= l.limits.MaxQueue {
		return 0, messages.Errorf(messages.BulkheadRejection, l.subject(), "Bulkhead rejection for 'inference': %d/%d capacity, %d/%d waiting",
			len(l.running), l.limit(), len(l.waiting), l.limits.MaxQueue).
			WithRetry(l.expectedWait(len(l.waiting) + 1)).WithHint("try again later, or raise resilience.bulkhead")
	}
	l.waiting, l.idleSince = append(l.waiting, ticket), time.Time{}
	return queued, nil
}

func (l *lane) breakerOpen(retry time.Duration) error {
	return messages.Errorf(messages.CircuitBreakerOpen, l.subject(), "Circuit breaker open for 'inference' (failures: %d)", l.breaker.failures).
		WithRetry(retry).WithHint("the worker failed again and again: modelops logs " + l.name())
}

// pump lets waiting tickets run as far as there are places.
func (l *lane) pump(now time.Time) (out []uint64) {
	for l.ready && len(l.waiting) > 0 && len(l.running) < l.limit() {
		t := l.waiting[0]
		if ok, _ := l.breaker.admit(t, now); !ok {
			break
		}
		l.waiting = l.waiting[1:]
		l.running[t] = l.view.GetAttempt()
		out = append(out, t)
	}
	return out
}

// leave takes a ticket out of the queue; false when it wasn't waiting.
func (l *lane) leave(ticket uint64, now time.Time) bool {
	i := slices.Index(l.waiting, ticket)
	if i < 0 {
		return false
	}
	l.waiting = slices.Delete(l.waiting, i, i+1)
	l.rest(now)
	return true
}

// finish takes a ticket out of its place. What became of it at a former worker says nothing about this one.
func (l *lane) finish(ticket uint64, o messages.Outcome, took time.Duration, now time.Time) (breakerChanged bool) {
	attempt, ran := l.running[ticket]
	if !ran {
		return false
	}
	delete(l.running, ticket)
	l.served = true
	l.rest(now)
	if l.recent == 0 {
		l.recent = took
	}
	l.recent += (took - l.recent) / 8
	switch {
	case attempt != l.view.GetAttempt():
		return false
	case o.Failed:
		return l.breaker.record(ticket, true, now)
	case o.Err != nil: // the caller left, or was wrong: says nothing about the worker
		l.breaker.forgive(ticket)
		return false
	}
	return l.breaker.record(ticket, false, now)
}

// rest starts the idle time when nothing runs and nothing waits.
func (l *lane) rest(now time.Time) {
	if len(l.running) == 0 && len(l.waiting) == 0 && l.idleSince.IsZero() {
		l.idleSince = now
	}
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
func (l *lane) failAll(now time.Time) (out []uint64) {
	out, l.waiting = l.waiting, nil
	l.rest(now)
	return out
}
