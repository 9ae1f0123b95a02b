package gateway

import (
	"context"
	"time"

	"modelops/messages"
)

// Cancel ends the requests with an id that wait or run, at any door; false when there is none.
func (g *Gateway) Cancel(id string) bool {
	why := messages.NewError(messages.Cancelled, "request "+id, "it was cancelled while it waited or ran")
	found := false
	for _, l := range g.all() {
		found = l.cancel(id, why) || found
	}
	return found
}

func (l *lockedPool) cancel(id string, why error) (found bool) {
	if id == "" {
		return false
	}
	var waiting []uint64
	var ends []context.CancelCauseFunc
	l.mu.Lock()
	for ticket, w := range l.waiters {
		if w.caller.RequestID == id {
			l.pool.Leave(ticket, time.Now())
			waiting = append(waiting, ticket)
		}
	}
	if len(waiting) > 0 {
		l.refuse(waiting, why)
	}
	for _, h := range l.running {
		if h.caller.RequestID == id {
			ends = append(ends, h.end)
		}
	}
	l.mu.Unlock()
	for _, end := range ends {
		end(why)
	}
	return len(waiting)+len(ends) > 0
}
