package gateway

import (
	"context"
	"time"

	"modelops/actors/gateway/pool"
	"modelops/messages"
)

// journalPatience is how long requests wait for a journal that doesn't answer: its store is restarted in place within seconds. A full or damaged
// one needs a person, so nobody waits for it.
const journalPatience = 10 * time.Second

// followJournal refuses the requests and loads that wait for a model which can't get on without the journal, until ctx ends. It is a goroutine of its
// own, because a store that hangs answers late.
func (g *Gateway) followJournal(ctx context.Context) {
	tick := time.NewTicker(pool.SweepEvery)
	defer tick.Stop()
	var since time.Time // when the journal was first found away; zero = it wasn't
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		stuck := g.stuck()
		if len(stuck) == 0 {
			since = time.Time{}
			continue
		}
		e, now := messages.AsError(g.o.JournalError()), time.Now()
		switch {
		case e == nil:
			since = time.Time{}
			continue
		case since.IsZero():
			since = now
		}
		if e.Code == messages.JournalUnavailable && now.Sub(since) < journalPatience {
			continue
		}
		for _, l := range stuck {
			l.mu.Lock()
			if l.pool.Stuck(g.o.Host) { // else it became ready meanwhile
				l.refuse(l.pool.RefuseAll(now), messages.Errorf(e.Code, l.id.String(), "the model can't become ready: %s", e.Message).WithRetry(e.Retry).WithHint(e.Hint))
			}
			l.mu.Unlock()
		}
	}
}

// stuck are the pools in which requests or loads wait for what this host would have to journal.
func (g *Gateway) stuck() (out []*lockedPool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range g.pools {
		l.mu.Lock()
		if l.pool.Stuck(g.o.Host) {
			out = append(out, l)
		}
		l.mu.Unlock()
	}
	return out
}
