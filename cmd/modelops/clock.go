package main

import (
	"context"
	"time"

	"modelops/journal"
	"modelops/messages"
)

// steadyClock never goes back: it starts at the wall's time, or at the journal's last when the wall is behind it, and goes on by the
// monotonic clock. A wall that jumps moves neither leases nor the order of the journal.
type steadyClock struct{ base, began time.Time }

func newSteadyClock(atLeast time.Time) steadyClock {
	now := time.Now()
	base := now.Round(0) // without the monotonic reading: sums with it would follow the wall in comparisons
	if base.Before(atLeast) {
		base = atLeast
	}
	return steadyClock{base: base, began: now}
}

func (c steadyClock) Now() time.Time { return c.base.Add(time.Since(c.began)) }

// lastTime is when the journal's last decision was made; zero when there is none.
func lastTime(ctx context.Context, j *journal.Journal) (at time.Time, err error) {
	if j.Sequence() == 0 {
		return at, nil
	}
	err = j.Replay(ctx, journal.Query{After: j.Sequence() - 1, Unknown: true}, func(r messages.Recorded) error {
		at = r.At
		return nil
	})
	return at, err
}
