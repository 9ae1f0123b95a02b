package gateway

import (
	"time"

	"modelops/messages"
)

// Limits of one lane.
type Limits struct {
	MaxConcurrent int
	MaxQueue      int
}

// lane is the pure state of one model's requests: who runs, who waits. Tickets are opaque numbers.
type lane struct {
	limits  Limits
	view    *messages.ModelView
	ready   bool
	closed  uint64            // the newest attempt that was drained: its ready views are of the past
	running map[uint64]uint64 // by ticket: the attempt of the worker that it runs at
	waiting []uint64
	breaker breaker
	// recent is a moving average of how long a request keeps its place; the base of retry times.
	recent time.Duration
	// idleSince is when the last request ended or the model became ready; zero while one runs or waits.
	idleSince time.Time
	served    bool // this worker has answered a request
}

func (l *lane) name() string { return l.view.GetName() }

func (l *lane) limit() int {
	if n := int(l.view.GetSpec().GetConcurrencyLimit()); n > 0 {
		return min(n, l.limits.MaxConcurrent)
	}
	return l.limits.MaxConcurrent
}

func (l *lane) subject() string { return l.view.GetId() }

// expectedWait is how long the request at a position will wait, from what requests took of late.
func (l *lane) expectedWait(position int) time.Duration {
	took := max(l.recent, 10*time.Millisecond)
	rounds := (position + l.limit() - 1) / max(l.limit(), 1)
	return max(took*time.Duration(rounds), 100*time.Millisecond)
}

// idle is how long nothing ran or waited; 0 while something does.
func (l *lane) idle(now time.Time) time.Duration {
	if l.idleSince.IsZero() || len(l.running)+len(l.waiting) > 0 {
		return 0
	}
	return now.Sub(l.idleSince)
}

// expired tells whether the model's idle time is over: it should be unloaded. A limit of 0 unloads after the first request, not
// before it.
func (l *lane) expired(now time.Time) bool {
	spec := l.view.GetSpec()
	limit := spec.GetIdleMs()
	if spec == nil || spec.IdleMs == nil || limit < 0 || !l.ready || spec.Pinned || l.idleSince.IsZero() || len(l.running)+len(l.waiting) > 0 {
		return false
	}
	if limit == 0 && !l.served {
		return false
	}
	return l.idle(now) >= time.Duration(limit)*time.Millisecond
}
