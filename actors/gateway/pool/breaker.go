package pool

import (
	"time"

	"modelops/messages"
)

// Breaker states, as metrics and the journal name them.
const (
	Closed   = messages.ModelView_closed
	Opened   = messages.ModelView_open
	HalfOpen = messages.ModelView_half_open
)

// breaker keeps requests from a worker that fails repeatedly. It opens after threshold failures in a row, lets one probe through when reset
// is over, and closes when the probe succeeds. While it is open only the probe's outcome counts: requests that were let in before report the
// failure that opened it.
type breaker struct {
	threshold int
	reset     time.Duration

	briefly  bool // the last failure was that there was no connection: it is soon tried again
	failures int
	openedAt time.Time
	open     bool
	probe    uint64 // ticket of the probe that runs; 0 = none runs
}

func (b *breaker) state(now time.Time) messages.ModelView_Breaker {
	switch {
	case !b.open:
		return Closed
	case b.probe != 0 || b.rest(now) <= 0:
		return HalfOpen
	}
	return Opened
}

// rest is how long it stays open before a probe may run.
func (b *breaker) rest(now time.Time) time.Duration {
	if b.briefly {
		return b.openedAt.Add(min(b.reset, briefReset)).Sub(now)
	}
	return b.openedAt.Add(b.reset).Sub(now)
}

// briefReset is how long the breaker of a worker that can't be reached stays open: nothing but a connection is at stake.
const briefReset = time.Second

// allows tells whether a request may run; when not, retry says when to ask again.
func (b *breaker) allows(now time.Time) (ok bool, retry time.Duration) {
	switch b.state(now) {
	case Closed:
		return true, 0
	case HalfOpen:
		if b.probe == 0 {
			return true, 0
		}
		return false, time.Second
	}
	return false, b.rest(now)
}

// enter notes a request that was allowed: at an open breaker it is the probe.
func (b *breaker) enter(ticket uint64) {
	if b.open {
		b.probe = ticket
	}
}

// record takes an outcome and tells whether the breaker opened or closed.
func (b *breaker) record(ticket uint64, failed bool, now time.Time) (changed bool) {
	switch {
	case b.open && b.probe != ticket:
		return false
	case b.open && failed:
		b.failures++
		b.probe, b.openedAt = 0, now
		return false
	case !failed:
		was := b.open
		b.failures, b.open, b.probe = 0, false, 0
		return was
	}
	b.failures++
	if b.failures >= b.threshold {
		b.open, b.openedAt = true, now
	}
	return b.open
}

// forgive ends a probe without an outcome: its caller left before the worker answered.
func (b *breaker) forgive(ticket uint64) {
	if b.probe == ticket {
		b.probe = 0
	}
}

// blame notes a failure that the request's input may have caused: it opens nothing. The failure of a probe keeps an open breaker open.
func (b *breaker) blame(ticket uint64, now time.Time) (changed bool) {
	if b.open {
		return b.record(ticket, true, now)
	}
	b.failures++
	return false
}

// condemn opens the breaker: a trial confirmed the failures. It tells whether that is new.
func (b *breaker) condemn(now time.Time) (changed bool) {
	was := b.open
	b.failures, b.open = max(b.failures, b.threshold), true
	if !was {
		b.openedAt, b.probe = now, 0
	}
	return !was
}

// acquit closes the breaker: a trial found that the worker works. It tells whether that is new.
func (b *breaker) acquit() (changed bool) {
	was := b.open
	b.failures, b.open, b.probe = 0, false, 0
	return was
}
