package control

import (
	"slices"
	"sync"
	"time"

	"modelops/messages"
)

const (
	// forgetsAfter is how long a program keeps its place in line after it asked last.
	forgetsAfter = 10 * time.Second
	// returnsWithin is how long others wait for a program that isn't asking: it asks again at once, unless it has died.
	returnsWithin = 3 * time.Second
)

// Line holds the programs that wait for memory at this host's doors. The scheduler sees them among those that seek memory, so that holders that
// came later don't go before them. It lives in memory: a program that still waits after a restart asks again.
type Line struct {
	mu      sync.Mutex
	waiting []*turn // by priority, then by age
}

// turn is one program's place.
type turn struct {
	claim, holder string
	bytes         uint64
	host          string // the only one where; empty = any
	priority      int32
	since, asked  time.Time // asked: its last question began or ended
	asking        int       // questions that are being answered
	left          bool      // nobody waits for their answers
}

// counts tells whether others have to wait for it.
func (t *turn) counts(now time.Time) bool {
	return !t.left && (t.asking > 0 || now.Sub(t.asked) <= returnsWithin)
}

// enter gives a claim that asks its place, or keeps the one that it has.
func (l *Line) enter(c *messages.RequestPlacement, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(now)
	if t := l.of(c.Claim.Id); t != nil {
		t.asked, t.left = now, false
		t.asking++
		return
	}
	at := slices.IndexFunc(l.waiting, func(t *turn) bool { return t.priority < c.Priority })
	if at < 0 {
		at = len(l.waiting)
	}
	l.waiting = slices.Insert(l.waiting, at, &turn{claim: c.Claim.Id, holder: c.Holder, bytes: c.Claim.GetNeeds()[0].GetBytes(), host: c.Claim.GetNeeds()[0].GetHost(), priority: c.Priority, since: now, asked: now, asking: 1})
}

// answered ends a question of a claim. left tells that its caller didn't wait for the answer.
func (l *Line) answered(claim string, left bool, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.of(claim); t != nil {
		t.asking--
		t.asked, t.left = now, left && t.asking == 0
	}
}

// absent notes whether the caller of a claim's question is away.
func (l *Line) absent(claim string, left bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.of(claim); t != nil {
		t.left = left
	}
}

// leave ends a claim's wait.
func (l *Line) leave(claim string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = slices.DeleteFunc(l.waiting, func(t *turn) bool { return t.claim == claim })
}

// position is a claim's place from 1 among those that count; 0 when it has none.
func (l *Line) position(claim string, now time.Time) (place int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.waiting {
		if t.claim == claim {
			return place + 1
		}
		if t.counts(now) {
			place++
		}
	}
	return 0
}

// ahead counts, of the programs that wait at other hosts, those that go before a claim.
func (l *Line) ahead(claim string, elsewhere []*messages.Allocation, now time.Time) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.of(claim)
	if t == nil {
		return 0
	}
	for _, a := range elsewhere {
		first := a.Priority > t.priority || a.Priority == t.priority && a.WaitedMs > now.Sub(t.since).Milliseconds()
		if first && a.Claim != "" && a.State == messages.Allocation_seeking && (a.WantsHost == "" || t.host == "" || a.WantsHost == t.host) {
			n++
		}
	}
	return n
}

// Seeking lists the programs in the form of the scheduler's readings.
func (l *Line) Seeking(now time.Time) (out []*messages.Allocation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(now)
	for _, t := range l.waiting {
		if !t.counts(now) {
			continue
		}
		out = append(out, &messages.Allocation{Holder: t.holder, State: messages.Allocation_seeking, WaitedMs: now.Sub(t.since).Milliseconds(), Priority: t.priority,
			Claim: t.claim, WantsBytes: t.bytes, WantsHost: t.host})
	}
	return out
}

// forget drops those that don't ask any more. l is locked.
func (l *Line) forget(now time.Time) {
	l.waiting = slices.DeleteFunc(l.waiting, func(t *turn) bool { return t.asking <= 0 && now.Sub(t.asked) > forgetsAfter })
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
