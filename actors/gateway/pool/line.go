package pool

import "slices"

// Shared is a host with the line of the pools that wait for its places. P is what a pool is to the caller, who guards places and line.
type Shared[P comparable] interface {
	Host
	// Wait puts a pool at the end of the line. Next takes out the one that has waited longest; false when none waits.
	Wait(P)
	Next() (P, bool)
}

// Line holds the pools that had a place for a request when the host had none, the one that waits longest first.
type Line[P comparable] struct {
	pools []P
}

// Wait puts a pool at the end of the line; one that waits already keeps its place there.
func (l *Line[P]) Wait(p P) {
	if !slices.Contains(l.pools, p) {
		l.pools = append(l.pools, p)
	}
}

// Next takes out the pool that has waited longest; false when none waits.
func (l *Line[P]) Next() (first P, ok bool) {
	if len(l.pools) == 0 {
		return first, false
	}
	first = l.pools[0]
	l.pools = slices.Delete(l.pools, 0, 1)
	return first, true
}

// Fill gives a pool's waiting requests the places that are free. dispatch does what one Dispatch of the pool decides, and tells whether it waits
// for the host. full tells that the host has no place for more.
func Fill[P comparable](h Shared[P], p P, dispatch func() (waitsForHost bool)) (full bool) {
	for dispatch() {
		h.Wait(p)
		if !h.Counts().Free() { // read after the pool is in the line: a request that leaves from now on finds it there
			return true
		}
	}
	return false
}

// Left decides who gets the place that a request of a pool left: the pool that has waited longest, else (waits is false) the pool itself.
// The pool goes to the end of the line, for the case that those before it can't use the place.
func Left[P comparable](h Shared[P], p P) (first P, waits bool) {
	if first, waits = h.Next(); waits {
		h.Wait(p)
	}
	return first, waits
}

// Turns fills the first pool, and then those in the line, until the host is full or none waits. While the host is full none is taken out: it
// would come back behind a pool that came later.
func Turns[P comparable](h Shared[P], first P, fill func(P) (full bool)) {
	for ok := true; ok && !fill(first) && h.Counts().Free(); {
		first, ok = h.Next()
	}
}
