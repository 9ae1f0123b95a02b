package gateway

import (
	"slices"
	"sync"
	"sync/atomic"
)

// bulkhead bounds the requests of all lanes of a host together. Its counts are moved by the lanes, each under its own lock. nil has no bound.
type bulkhead struct {
	maxRunning, maxWaiting atomic.Int64
	running, waiting       atomic.Int64

	mu     sync.Mutex
	hungry []*guarded // lanes that had a place for somebody when the host had none, longest hungry first
}

func (b *bulkhead) bound(l Limits) {
	b.maxRunning.Store(int64(l.MaxConcurrent))
	b.maxWaiting.Store(int64(l.MaxQueue))
}

// enter takes a place to run; false when all are taken.
func (b *bulkhead) enter() bool { return b == nil || take(&b.running, &b.maxRunning) }

// queue takes a place to wait; false when all are taken.
func (b *bulkhead) queue() bool { return b == nil || take(&b.waiting, &b.maxWaiting) }

func take(n, most *atomic.Int64) bool {
	limit := most.Load()
	if now := n.Add(1); limit > 0 && now > limit {
		n.Add(-1)
		return false
	}
	return true
}

// free tells whether there is a place to run.
func (b *bulkhead) free() bool {
	limit := b.maxRunning.Load()
	return limit <= 0 || b.running.Load() < limit
}

func (b *bulkhead) leave() {
	if b != nil {
		b.running.Add(-1)
	}
}

func (b *bulkhead) unqueue(n int) {
	if b != nil {
		b.waiting.Add(int64(-n))
	}
}

// starve notes that a lane waits for a place on the host.
func (b *bulkhead) starve(l *guarded) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Contains(b.hungry, l) {
		b.hungry = append(b.hungry, l)
	}
}

// feed is the lane that has waited longest for a place on the host; nil when none does.
func (b *bulkhead) feed() *guarded {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.hungry) == 0 {
		return nil
	}
	l := b.hungry[0]
	b.hungry = slices.Delete(b.hungry, 0, 1)
	return l
}
