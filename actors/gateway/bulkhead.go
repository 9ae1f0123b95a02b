package gateway

import (
	"slices"
	"sync"
	"sync/atomic"

	"modelops/actors/gateway/pool"
)

// bulkhead bounds the requests of all pools of a host together. Its counts are changed by the pools, each under its own lock.
type bulkhead struct {
	maxRunning, maxWaiting atomic.Int64
	running, waiting       atomic.Int64

	mu             sync.Mutex
	waitingForHost []*lockedPool // pools that had a place for a request when the host had none, the one that waits longest first
}

func (b *bulkhead) bound(l pool.Limits) {
	b.maxRunning.Store(int64(l.MaxConcurrent))
	b.maxWaiting.Store(int64(l.MaxQueue))
}

// Enter implements pool.Host.
func (b *bulkhead) Enter() bool { return take(&b.running, &b.maxRunning) }

// Queue implements pool.Host.
func (b *bulkhead) Queue() bool { return take(&b.waiting, &b.maxWaiting) }

func take(n, most *atomic.Int64) bool {
	for { // a count that is too high for a moment would refuse another caller, for whom there is a place
		now, limit := n.Load(), most.Load()
		if limit > 0 && now >= limit {
			return false
		}
		if n.CompareAndSwap(now, now+1) {
			return true
		}
	}
}

// Leave implements pool.Host.
func (b *bulkhead) Leave() { b.running.Add(-1) }

// Unqueue implements pool.Host.
func (b *bulkhead) Unqueue(n int) { b.waiting.Add(int64(-n)) }

// Counts implements pool.Host.
func (b *bulkhead) Counts() pool.Counts {
	return pool.Counts{Running: b.running.Load(), MaxRunning: b.maxRunning.Load(), Waiting: b.waiting.Load(), MaxWaiting: b.maxWaiting.Load()}
}

// free tells whether there is a place to run.
func (b *bulkhead) free() bool {
	limit := b.maxRunning.Load()
	return limit <= 0 || b.running.Load() < limit
}

// waitsFor notes that a pool waits for a place on the host.
func (b *bulkhead) waitsFor(l *lockedPool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Contains(b.waitingForHost, l) {
		b.waitingForHost = append(b.waitingForHost, l)
	}
}

// next takes out the pool that has waited longest for a place on the host; nil when none does.
func (b *bulkhead) next() *lockedPool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waitingForHost) == 0 {
		return nil
	}
	l := b.waitingForHost[0]
	b.waitingForHost = slices.Delete(b.waitingForHost, 0, 1)
	return l
}
