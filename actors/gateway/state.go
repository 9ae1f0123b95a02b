package gateway

import (
	"slices"
	"time"

	"modelops/messages"
)

// Limits of one lane: MaxConcurrent requests at each worker, MaxQueue waiting in all.
type Limits struct {
	MaxConcurrent int
	MaxQueue      int
}

// lane is the pure state of one model's requests: who runs at which of its workers, who waits. Tickets are opaque numbers.
type lane struct {
	model   string // its name
	limits  Limits
	fuse    breaker // what a new worker's breaker is like
	order   order
	host    *bulkhead
	view    *messages.ModelView // the model's own; its replicas' are in their seats
	seats   []*seat             // in order of their names, the model's own first
	running map[uint64]run
	waiting queue
	// recent is how long a request keeps its place, cold how long a model without a worker lets wait: the base of retry times.
	recent, cold average
	coldSince    time.Time // since when somebody waits for a worker; zero while nobody does
	// idleSince is when the last request ended or the model became ready; zero while one runs or waits.
	idleSince time.Time
	served    bool           // a worker that is ready has answered a request
	keep      *time.Duration // the latest request's word on the idle time; nil = the declaration's
	demand    demand
	replaced  time.Time // when a degraded worker was last reported
	revived   time.Time // when the model was last asked to try its own worker anew
}

// run is a request at a worker.
type run struct {
	pending
	seat    *seat
	attempt uint64
	began   time.Time
}

// seat is a worker that serves the lane: the model's own, or a replica's.
type seat struct {
	name    string
	view    *messages.ModelView
	ready   bool
	closed  uint64 // the newest attempt that was drained: its ready views are of the past
	running int
	breaker breaker
	vitals  vitals
	nap     bool // was told to sleep since it last worked
}

// average is a moving one; 0 = nothing was seen yet.
type average time.Duration

func (a *average) add(d time.Duration) {
	if *a == 0 {
		*a = average(d)
	}
	*a += (average(d) - *a) / 8
}

// places is how many requests may run at one worker.
func (l *lane) places() int {
	if n := int(l.view.GetSpec().GetConcurrencyLimit()); n > 0 {
		return min(n, l.limits.MaxConcurrent)
	}
	return l.limits.MaxConcurrent
}

// limit is how many may run at all workers that are ready; one worker's places when none is.
func (l *lane) limit() int {
	n := 0
	for _, s := range l.seats {
		if s.ready {
			n++
		}
	}
	return l.places() * max(n, 1)
}

// ready tells whether any worker may be given requests.
func (l *lane) ready() bool {
	return slices.ContainsFunc(l.seats, func(s *seat) bool { return s.ready })
}

func (l *lane) subject() string { return l.view.GetId() }

// seat finds a worker's seat by its model's name; nil when it has none.
func (l *lane) seat(name string) *seat {
	for _, s := range l.seats {
		if s.name == name {
			return s
		}
	}
	return nil
}

// expectedWait is how long the request at a position will wait, from what requests and loads took of late.
func (l *lane) expectedWait(position int, now time.Time) time.Duration {
	took := max(l.usual(now), 10*time.Millisecond)
	rounds := (position + l.limit() - 1) / l.limit()
	if l.ready() {
		return max(took*time.Duration(rounds), 100*time.Millisecond)
	}
	cold := time.Duration(l.cold)
	if !l.coldSince.IsZero() {
		cold -= min(cold, now.Sub(l.coldSince))
	}
	return max(cold+took*time.Duration(rounds-1), 100*time.Millisecond)
}

// usual is how long a request keeps its place. Before any has ended, those that run say at least how long it takes.
func (l *lane) usual(now time.Time) time.Duration {
	took := time.Duration(l.recent)
	if took > 0 {
		return took
	}
	for _, r := range l.running {
		took = max(took, now.Sub(r.began))
	}
	return took
}

// idle is how long nothing ran or waited; 0 while something does.
func (l *lane) idle(now time.Time) time.Duration {
	if l.idleSince.IsZero() || len(l.running)+l.waiting.n > 0 {
		return 0
	}
	return now.Sub(l.idleSince)
}

// idleLimit is the idle time after which the model is unloaded; never when there is none.
func (l *lane) idleLimit() (limit time.Duration, ends bool) {
	spec := l.view.GetSpec()
	switch {
	case spec == nil || spec.Pinned:
		return 0, false
	case l.keep != nil:
		return *l.keep, *l.keep >= 0
	case spec.IdleMs == nil:
		return 0, false
	}
	return time.Duration(*spec.IdleMs) * time.Millisecond, *spec.IdleMs >= 0
}

// expired tells whether the model's idle time is over: it should be unloaded. A limit of 0 unloads after the first request, not
// before it. An engine that sleeps is unloaded like one that is awake.
func (l *lane) expired(now time.Time) bool {
	limit, ends := l.idleLimit()
	if !ends || l.idleSince.IsZero() || len(l.running)+l.waiting.n > 0 || !l.ready() && l.view.GetPhase() != "asleep" {
		return false
	}
	if limit == 0 && !l.served {
		return false
	}
	return l.idle(now) >= limit
}

// sleepy are the workers whose engines should be put to sleep. Each is told once for an idle time.
func (l *lane) sleepy(now time.Time) (out []*seat) {
	spec := l.view.GetSpec()
	if spec == nil || spec.SleepMs == nil || *spec.SleepMs <= 0 || l.idle(now) < time.Duration(*spec.SleepMs)*time.Millisecond {
		return nil
	}
	for _, s := range l.seats {
		if s.ready && !s.nap {
			s.nap = true
			out = append(out, s)
		}
	}
	return out
}
