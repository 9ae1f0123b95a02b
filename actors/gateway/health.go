package gateway

import (
	"time"

	"modelops/messages"
)

// Health says whether decisions make progress: the age of the oldest request on which nothing was decided, and the journal.
func (g *Gateway) Health() messages.Health {
	h := messages.Health{OK: true}
	now := time.Now()
	g.mu.Lock()
	for _, l := range g.pools {
		h.OldestUndecided = max(h.OldestUndecided, l.undecided(now))
	}
	g.mu.Unlock()
	if h.OldestUndecided > g.o.StallAfter {
		h.Reasons = append(h.Reasons, "a request waits for "+h.OldestUndecided.Round(time.Second).String()+" without a decision on its model")
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
	return h
}

// undecided is the age of the oldest request that waits while the pool is undecided.
func (l *lockedPool) undecided(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.pool.Undecided() {
		return 0
	}
	var oldest time.Duration
	for _, w := range l.waiters {
		oldest = max(oldest, now.Sub(w.since))
	}
	return oldest
}
