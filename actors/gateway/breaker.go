package gateway

import "time"

// Breaker states as metrics and journal name them.
const (
	Closed   = "closed"
	Opened   = "open"
	HalfOpen = "half_open"
)

// breaker refuses a worker that fails again and again. It opens after threshold failures in a row, lets one probe through
// when reset is over, and closes when the probe succeeds. While it is open only the probe's outcome counts: who was let in before
// has nothing new to say. Pure: the time is an argument.
type breaker struct {
	threshold int
	reset     time.Duration

	failures int
	openedAt time.Time
	open     bool
	probe    uint64 // ticket of the probe that runs; 0 = none
}

func (b *breaker) state(now time.Time) string {
	switch {
	case !b.open:
		return Closed
	case b.probe != 0 || b.rest(now) <= 0:
		return HalfOpen
	}
	return Opened
}

// rest is how long it stays open before a probe may run.
func (b *breaker) rest(now time.Time) time.Duration { return b.openedAt.Add(b.reset).Sub(now) }

// admit asks for a permit; when refused, retry says when to ask again.
func (b *breaker) admit(ticket uint64, now time.Time) (ok bool, retry time.Duration) {
	switch b.state(now) {
	case Closed:
		return true, 0
	case HalfOpen:
		if b.probe == 0 {
			b.probe = ticket
			return true, 0
		}
		return false, time.Second
	}
	return false, b.rest(now)
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

// forgive gives a permit back unused: the caller left before the worker could prove anything.
func (b *breaker) forgive(ticket uint64) {
	if b.probe == ticket {
		b.probe = 0
	}
}
