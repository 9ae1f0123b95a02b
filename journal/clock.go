package journal

import (
	"context"
	"time"

	"modelops/messages"
)

// SteadyClock never goes back: it starts at the wall's time, or at the journal's last when the wall is behind it, and goes on by the
// monotonic clock. A wall that jumps moves neither leases nor the order of the journal.
type SteadyClock struct{ base, began time.Time }

// NewSteadyClock makes a clock that begins now, or at a time that is later.
func NewSteadyClock(atLeast time.Time) SteadyClock {
	now := time.Now()
	base := now.Round(0) // without the monotonic reading: sums with it would follow the wall in comparisons
	if base.Before(atLeast) {
		base = atLeast
	}
	return SteadyClock{base: base, began: now}
}

// Now implements entity.Clock.
func (c SteadyClock) Now() time.Time { return c.base.Add(time.Since(c.began)) }

// LastTime is when the journal's last decision was made; zero when there is none.
func (j *Journal) LastTime(ctx context.Context) (at time.Time, err error) {
	if j.Sequence() == 0 {
		return at, nil
	}
	err = j.Replay(ctx, Query{After: j.Sequence() - 1, Unknown: true}, func(r messages.Recorded) error {
		at = r.At
		return nil
	})
	return at, err
}
