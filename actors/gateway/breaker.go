package gateway

import "time"

// Breaker states as metrics and journal name them.
const (
	Closed   = "closed"
	Opened   = "open"
	HalfOpen = "half_open"
)

// breaker refuses a worker that fails again and again. It opens after threshold failures in a row, lets one probe through
// when reset is over, and closes when the probe succeeds. Pure: the time is an argument.
type breaker struct {
	threshold int
	reset     time.Duration

	failures int
	openedAt time.Time
	open     bool
	probing  bool
}

func (b *breaker) state(now time.Time) string {
	switch {
	case !b.open:
		return Closed
	case b.probing || !now.Before(b.openedAt.Add(b.reset)):
		return HalfOpen
	}
	return Opened
}

// admit asks for a permit; when refused, retry says when to ask again.
func (b *breaker) admit(now time.Time) (ok bool, retry time.Duration) {
	switch b.state(now) {
	case Closed:
		return true, 0
	case HalfOpen:
		if !b.probing {
			b.probing = true
			return true, 0
		}
		return false, time.Second
	}
	return false, b.openedAt.Add(b.reset).Sub(now)
}

// record takes an outcome and tells whether the state changed.
func (b *breaker) record(failed bool, now time.Time) (changed bool) {
	was := b.open
	if !failed {
		b.failures, b.open, b.probing = 0, false, false
		return was
	}
	b.failures++
	if b.probing || b.failures >= b.threshold {
		changed = !b.open
		b.open, b.probing, b.openedAt = true, false, now
	}
	return changed
}

// forgive gives a permit back unused: the caller left before the worker could prove anything.
func (b *breaker) forgive() { b.probing = false }
