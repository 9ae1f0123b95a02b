package tree

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// Backoff restarts a failed child alone, after a pause that doubles with each failure within a window, and gives up after
// limit failures. The library's own strategy is linear and never gives up.
type Backoff struct {
	First, Longest, Within time.Duration
	Limit                  int
	// Restarted and GaveUp are called at each restart and at the last failure. They must not block.
	Restarted func(child *actor.PID, failures int, reason any)
	GaveUp    func(child *actor.PID, failures int, reason any)
}

// HandleFailure is called by protoactor on the supervisor's behalf.
func (b Backoff) HandleFailure(_ *actor.ActorSystem, sup actor.Supervisor, child *actor.PID, rs *actor.RestartStatistics, reason, _ any) {
	if rs.NumberOfFailures(b.Within) == 0 {
		rs.Reset()
	}
	rs.Fail()
	n := rs.FailureCount()
	if n > b.Limit {
		b.GaveUp(child, n, reason)
		sup.StopChildren(child)
		return
	}
	b.Restarted(child, n, reason)
	time.AfterFunc(b.pause(n), func() { sup.RestartChildren(child) })
}

func (b Backoff) pause(n int) time.Duration {
	if n > 30 {
		return b.Longest
	}
	return min(b.First<<(n-1), b.Longest)
}
