package gateway

import (
	"sync"
	"sync/atomic"

	"modelops/actors/gateway/pool"
)

// bulkhead bounds the requests of all pools of a host together. Its counts are changed by the pools, each under its own lock. It is a
// pool.Shared: the order among the pools is decided there.
type bulkhead struct {
	maxRunning, maxWaiting atomic.Int64
	running, waiting       atomic.Int64

	mu   sync.Mutex
	line pool.Line[*lockedPool]
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

// Wait implements pool.Shared.
func (b *bulkhead) Wait(l *lockedPool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.line.Wait(l)
}

// Next implements pool.Shared.
func (b *bulkhead) Next() (*lockedPool, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.line.Next()
}
