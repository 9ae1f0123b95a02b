package simulator

import (
	"context"
	"slices"
	"time"

	"modelops/messages"
)

// When a worker is taken to do its work badly: simpler than the gateway's rules, since here nobody is misled.
const (
	badInARow    = 3
	slowTimes    = 5
	replaceEvery = time.Minute
	reviveEvery  = time.Minute
)

// seat is a worker that serves a lane: the model's own, or a replica's.
type seat struct {
	model   int // index of its actor
	view    *messages.ModelView
	ready   bool
	closed  uint64 // the newest attempt that was drained
	running []*request
	bad     int                      // answers in a row that weren't what they should be
	drains  map[uint64]time.Duration // when a drain of an attempt began
}

// seat finds that of an actor, or makes it.
func (l *lane) seat(model int) *seat {
	for _, s := range l.seats {
		if s.model == model {
			return s
		}
	}
	s := &seat{model: model, drains: map[uint64]time.Duration{}}
	l.seats = append(l.seats, s)
	return s
}

func (s *seat) update(v *messages.ModelView) {
	if s.view.GetAttempt() != v.Attempt {
		s.bad = 0
	}
	s.view = v
	if (v.Phase == messages.ModelView_asleep || v.Phase == messages.ModelView_waking) && s.closed == v.Attempt { // it was drained to sleep and comes back as it was
		s.closed--
	}
	s.ready = v.Phase == messages.ModelView_ready && v.Attempt > s.closed
}

func (s *seat) saw(bad bool) {
	if !bad {
		s.bad = 0
		return
	}
	s.bad++
}

func (s *seat) pokeIdle(w *World) {
	if len(s.running) == 0 {
		w.poke("idle/" + w.models[s.model].id.Name())
	}
}

func (l *lane) ready() bool {
	return slices.ContainsFunc(l.seats, func(s *seat) bool { return s.ready })
}

func (l *lane) running() (n int) {
	for _, s := range l.seats {
		n += len(s.running)
	}
	return n
}

// free is the worker with the fewest requests; nil when all are full.
func (l *lane) free() (best *seat) {
	for _, s := range l.seats {
		if s.ready && len(s.running) < l.places && (best == nil || len(s.running) < len(best.running)) {
			best = s
		}
	}
	return best
}

// inspect has a bad worker replaced, at most one a minute, and a model whose own worker failed try anew once a minute while others serve.
func (l *lane) inspect() {
	w := l.w
	switch {
	case l.seats[0].view.GetPhase() != messages.ModelView_failed || !l.ready():
		l.revived = w.elapsed
	case w.elapsed-l.revived >= reviveEvery:
		l.revived = w.elapsed
		l.ensure()
	}
	if l.replaced > 0 && w.elapsed-l.replaced < replaceEvery {
		return
	}
	for _, s := range l.seats {
		if s.ready && s.bad >= badInARow {
			l.replaced = w.elapsed
			w.replace(s, "its answers are bad")
			return
		}
	}
}

func (w *World) replace(s *seat, why string) {
	base := w.models[w.modelOf[s.model]].id
	door{w}.Tell(&try{}, base, &messages.ReplaceWorker{Replica: w.models[s.model].id.Name(), Attempt: s.view.GetAttempt(), Reason: why})
}

// gate is the model's port to its lane.
type gate struct{ w *World }

// Drain implements model.Gate.
func (g gate) Drain(ctx context.Context, id messages.ActorID, attempt uint64, force bool) error {
	w := g.w
	l, s := w.seatOf(w.byName[id.Name()])
	s.closed, s.ready = max(s.closed, attempt), false
	if len(s.running) == 0 {
		return nil
	}
	began, ok := s.drains[attempt]
	if !ok {
		began = w.elapsed
		s.drains[attempt] = began
		w.alive(w.o.DrainTimeout, func() { delete(s.drains, attempt); w.drainOver(l, s, attempt) })
	}
	if force {
		l.endAll(s)
		return nil
	}
	return notYet(ctx, "idle/"+id.Name())
}

// drainOver ends who still runs when a drain's time is over.
func (w *World) drainOver(l *lane, s *seat, attempt uint64) {
	if s.closed == attempt && !s.ready {
		l.endAll(s)
	}
}

func (l *lane) endAll(s *seat) {
	for _, r := range slices.Clone(s.running) {
		l.leave(r, messages.Unavailable)
	}
}
