package gateway

import (
	"context"
	"time"

	"modelops/messages"
)

// Cancel ends the requests with an id that wait or run, at any door, and that a caller may end; others tells of requests with that id that it
// may not.
func (g *Gateway) Cancel(id string, by messages.Principal) (found, others bool) {
	why := messages.NewError(messages.Cancelled, "request "+id, "it was cancelled while it waited or ran")
	for _, l := range g.all() {
		ended, left := l.cancel(id, by, why)
		found, others = found || ended, others || left
	}
	return found, others
}

func (l *lockedPool) cancel(id string, by messages.Principal, why error) (found, others bool) {
	if id == "" {
		return false, false
	}
	var waiting []uint64
	var ends []context.CancelCauseFunc
	l.mu.Lock()
	for ticket, w := range l.waiters {
		if w.caller.RequestID == id && !by.Owns(w.caller.Principal) {
			others = true
		} else if w.caller.RequestID == id {
			l.pool.Leave(ticket, time.Now())
			waiting = append(waiting, ticket)
		}
	}
	if len(waiting) > 0 {
		l.refuse(waiting, why)
	}
	for _, h := range l.running {
		if h.caller.RequestID == id && !by.Owns(h.caller.Principal) {
			others = true
		} else if h.caller.RequestID == id {
			ends = append(ends, h.end)
		}
	}
	l.mu.Unlock()
	for _, end := range ends {
		end(why)
	}
	return len(waiting)+len(ends) > 0, others
}
