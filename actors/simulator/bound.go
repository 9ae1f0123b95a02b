package simulator

import (
	"slices"

	"modelops/actors/gateway/pool"
)

// bound is the gateway's bound over the requests of all pools.
type bound struct {
	counts  pool.Counts
	waiting []*front // those that had a place for a request when the host had none, the one that waits longest first
}

func (w *World) newBound() *bound {
	return &bound{counts: pool.Counts{MaxRunning: int64(w.o.HostPlaces)}}
}

// Enter implements pool.Host.
func (b *bound) Enter() bool {
	if b.counts.MaxRunning > 0 && b.counts.Running >= b.counts.MaxRunning {
		return false
	}
	b.counts.Running++
	return true
}

// Leave implements pool.Host.
func (b *bound) Leave() { b.counts.Running-- }

// Queue implements pool.Host.
func (b *bound) Queue() bool { b.counts.Waiting++; return true }

// Unqueue implements pool.Host.
func (b *bound) Unqueue(n int) { b.counts.Waiting -= int64(n) }

// Counts implements pool.Host.
func (b *bound) Counts() pool.Counts { return b.counts }

// waitsFor notes that a front waits for a place on the host.
func (b *bound) waitsFor(f *front) {
	if !slices.Contains(b.waiting, f) {
		b.waiting = append(b.waiting, f)
	}
}

// next takes out the front that has waited longest; nil when none waits.
func (b *bound) next() *front {
	if len(b.waiting) == 0 {
		return nil
	}
	f := b.waiting[0]
	b.waiting = slices.Delete(b.waiting, 0, 1)
	return f
}

// freed gives the place that a front's request left to the front that waits longest for one.
func (b *bound) freed(f *front) {
	first := b.next()
	if first == nil || f.w.o.Plants.KeepsPlace {
		f.dispatch()
		return
	}
	b.waitsFor(f)
	for ; first != nil; first = b.next() {
		if first.dispatch() {
			return
		}
	}
}
