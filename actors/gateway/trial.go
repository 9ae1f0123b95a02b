package gateway

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// trial counts the outcomes of requests at a canary.
type trial struct {
	watched atomic.Bool // Trial waits for the counts

	mu               sync.Mutex
	requests, failed uint64
	changed          chan struct{} // one signal
}

// record counts a request.
func (t *trial) record(failed bool) {
	t.mu.Lock()
	t.requests++
	if failed {
		t.failed++
	}
	t.mu.Unlock()
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

func (t *trial) counts() (requests, failed uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.requests, t.failed
}

// trial of a rollout; made when it isn't there yet. g is locked.
func (g *Gateway) trial(swap string) *trial {
	t := g.trials[swap]
	if t == nil {
		t = &trial{changed: make(chan struct{}, 1)}
		g.trials[swap] = t
	}
	return t
}

// Trial watches a rollout's canary until it got minRequests, its time is over, or so many failed that it can't come under maxErrorPct
// (percent of minRequests) any more. A request that the canary couldn't take counts as failed there, although the old model answered it. The
// counts are kept in memory: after a restart they begin at zero.
func (g *Gateway) Trial(ctx context.Context, swap string, minRequests uint32, within time.Duration, maxErrorPct uint32) (requests, failed uint64, err error) {
	g.mu.Lock()
	t := g.trial(swap)
	t.watched.Store(true)
	g.mu.Unlock()
	defer t.watched.Store(false)
	over := time.NewTimer(within)
	defer over.Stop()
	for {
		requests, failed = t.counts()
		if requests >= uint64(minRequests) || failed*100 > uint64(maxErrorPct)*uint64(minRequests) {
			return requests, failed, nil
		}
		select {
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		case <-over.C:
			requests, failed = t.counts()
			return requests, failed, nil
		case <-t.changed:
		}
	}
}
