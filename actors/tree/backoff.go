package tree

import (
	"cmp"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// Backoff restarts a failed child alone, after a pause that doubles with each failure within a sliding window, and gives up after limit failures
// within one window. The library's own strategy is linear and never gives up, and its count of failures is not a window: it begins anew only
// after a window without any. A figure of 0 is the default.
type Backoff struct {
	First   time.Duration // the pause after the first failure; default 50 ms
	Longest time.Duration // no pause is longer; default 30 s
	Within  time.Duration // the window in which failures count; default 1 min
	Limit   int           // restarts within the window before it gives up; default 8
	// Restarted and GaveUp are called at each restart and at the last failure. They must not block.
	Restarted func(child *actor.PID, failures int, reason any)
	GaveUp    func(child *actor.PID, failures int, reason any)

	crashed map[string][]time.Time // by child, oldest first; used in the supervisor's turn only
}

// orDefault is the back-off with every figure set.
func (b Backoff) orDefault() Backoff {
	b.First, b.Longest, b.Within = cmp.Or(b.First, 50*time.Millisecond), cmp.Or(b.Longest, 30*time.Second), cmp.Or(b.Within, time.Minute)
	b.Limit = cmp.Or(b.Limit, 8)
	b.crashed = map[string][]time.Time{}
	return b
}

// HandleFailure is called by protoactor on the supervisor's behalf.
func (b Backoff) HandleFailure(_ *actor.ActorSystem, sup actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason, _ any) {
	n := b.count(child.Id, time.Now())
	if n > b.Limit {
		delete(b.crashed, child.Id)
		b.GaveUp(child, n, reason)
		sup.StopChildren(child)
		return
	}
	b.Restarted(child, n, reason)
	time.AfterFunc(b.pause(n), func() { sup.RestartChildren(child) })
}

// count notes a failure and tells how many the window holds. Failures that it doesn't hold any more are forgotten.
func (b Backoff) count(child string, now time.Time) int {
	recent := slices.DeleteFunc(append(b.crashed[child], now), func(at time.Time) bool { return now.Sub(at) >= b.Within })
	b.crashed[child] = recent
	return len(recent)
}

func (b Backoff) pause(n int) time.Duration {
	if n > 30 {
		return b.Longest
	}
	return min(b.First<<(n-1), b.Longest)
}
