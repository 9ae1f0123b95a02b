package gateway

import (
	"time"

	"modelops/messages"
)

// Health says whether decisions make progress: the age of the oldest request on which nothing was decided, and the journal. A device that can't
// be used is a reason too; it fails only when no device is left that models were meant for. What is wrong with the cluster is a reason, and never fails it.
func (g *Gateway) Health() messages.Health {
	h := messages.Health{OK: true}
	now := time.Now()
	g.mu.Lock()
	stalled := ""
	for _, l := range g.pools {
		if age, why := g.undecided(l, now, g.figure.Load().DrainTimeout); age > h.OldestUndecided {
			h.OldestUndecided, stalled = age, l.name+why
		}
	}
	gaveUp := g.gaveUp
	g.mu.Unlock()
	if h.OldestUndecided > g.o.StallAfter {
		h.Reasons = append(h.Reasons, "a request waits for "+h.OldestUndecided.Round(time.Second).String()+" without a decision on its model "+stalled)
	}
	for _, actor := range gaveUp {
		h.Reasons = append(h.Reasons, actor+" crashed too often and stays down: RestartActor brings it back")
	}
	if g.o.JournalLag != nil {
		h.JournalLag = g.o.JournalLag()
	}
	if g.o.JournalError != nil {
		if err := g.o.JournalError(); err != nil {
			h.Reasons = append(h.Reasons, "journal: "+err.Error())
		}
	}
	if g.o.Ill != nil {
		h.Reasons = append(h.Reasons, g.o.Ill()...)
	}
	h.OK = len(h.Reasons) == 0
	if g.o.Devices != nil {
		reasons, usable := g.o.Devices()
		h.Reasons, h.OK = append(h.Reasons, reasons...), h.OK && usable
	}
	if g.o.Cluster != nil { // a host that is apart from others serves all the same
		h.Reasons = append(h.Reasons, g.o.Cluster()...)
	}
	return h
}

// undecided is the age of the oldest request that waits while the pool is undecided, and the error that keeps the pool from a decision.
func (g *Gateway) undecided(l *lockedPool, now time.Time, turn time.Duration) (oldest time.Duration, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiters) == 0 || !l.pool.Undecided(now, turn) {
		return 0, ""
	}
	for _, w := range l.waiters {
		if len(g.emptied(l, w.caller.Only)) == 0 { // else it was decided that nothing is loaded there
			oldest = max(oldest, now.Sub(w.since))
		}
	}
	if err := l.pool.Delayed(); err != nil {
		why = ": " + err.Error()
	}
	return oldest, why
}
