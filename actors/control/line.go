package control

import (
	"slices"
	"sync"
	"time"

	"modelops/messages"
)

// forgetsAfter is how long a program keeps its place in line after it asked last.
const forgetsAfter = 10 * time.Second

// Line holds the programs that wait for memory at this host's doors. The scheduler sees them among those that seek memory, so that holders that
// came later don't go before them. It lives in memory: a program that still waits after a restart asks again.
type Line struct {
	mu      sync.Mutex
	waiting []*turn // by priority, then by age
}

// turn is one program's place.
type turn struct {
	claim, holder string
	priority      int32
	since, asked  time.Time
}

// enter gives a claim its place, or keeps the one that it has.
func (l *Line) enter(c *messages.RequestPlacement, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(now)
	if t := l.of(c.Claim.Id); t != nil {
		t.asked = now
		return
	}
	at := slices.IndexFunc(l.waiting, func(t *turn) bool { return t.priority < c.Priority })
	if at < 0 {
		at = len(l.waiting)
	}
	l.waiting = slices.Insert(l.waiting, at, &turn{claim: c.Claim.Id, holder: c.Holder, priority: c.Priority, since: now, asked: now})
}

// leave ends a claim's wait.
func (l *Line) leave(claim string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = slices.DeleteFunc(l.waiting, func(t *turn) bool { return t.claim == claim })
}

// position is a claim's place from 1; 0 when it has none.
func (l *Line) position(claim string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return 1 + slices.IndexFunc(l.waiting, func(t *turn) bool { return t.claim == claim })
}

// Seeking lists the programs in the form of the scheduler's readings.
func (l *Line) Seeking(now time.Time) (out []*messages.Allocation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(now)
	for _, t := range l.waiting {
		out = append(out, &messages.Allocation{Holder: t.holder, State: messages.Allocation_seeking, WaitedMs: now.Sub(t.since).Milliseconds(), Priority: t.priority})
	}
	return out
}

// forget drops those that don't ask any more. l is locked.
func (l *Line) forget(now time.Time) {
	l.waiting = slices.DeleteFunc(l.waiting, func(t *turn) bool { return now.Sub(t.asked) > forgetsAfter })
}

// of is the turn of a claim. l is locked.
func (l *Line) of(claim string) *turn {
	for _, t := range l.waiting {
		if t.claim == claim {
			return t
		}
	}
	return nil
}
