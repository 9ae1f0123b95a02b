package simulator

import "modelops/actors/gateway/pool"

// bound is the places that the pools share, and the line of those that wait for one: the gateway's bulkhead without its locks.
type bound struct {
	pool.Line[*front]
	counts pool.Counts
}

func (w *World) newBound() pool.Shared[*front] {
	b := &bound{counts: pool.Counts{MaxRunning: int64(w.o.HostPlaces), MaxWaiting: int64(w.o.HostQueue)}}
	if w.o.Plants.Host != nil {
		return w.o.Plants.Host(b)
	}
	return b
}

// Enter implements pool.Host.
func (b *bound) Enter() bool {
	if !b.counts.Free() {
		return false
	}
	b.counts.Running++
	return true
}

// Leave implements pool.Host.
func (b *bound) Leave() { b.counts.Running-- }

// Queue implements pool.Host.
func (b *bound) Queue() bool {
	if !b.counts.Room() {
		return false
	}
	b.counts.Waiting++
	return true
}

// Unqueue implements pool.Host.
func (b *bound) Unqueue(n int) { b.counts.Waiting -= int64(n) }

// Counts implements pool.Host.
func (b *bound) Counts() pool.Counts { return b.counts }
