package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"pgregory.net/rapid"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

func newLane(concurrent, queue int) *lane {
	l := &lane{model: "tiny", limits: Limits{MaxConcurrent: concurrent, MaxQueue: queue}, running: map[uint64]run{},
		fuse: breaker{threshold: 2, reset: 20 * time.Second}}
	l.update(&messages.ModelView{Id: "model/main_pc/tiny", Name: "tiny"}, entitytest.Epoch)
	return l
}

// tickets of those who wait, as they came.
func (l *lane) tickets() []uint64 {
	out := l.waiting.tickets()
	slices.Sort(out)
	return out
}

// pendings are those who wait.
func (q *queue) pendings() []pending { return slices.Concat(q.lines...) }

// laneStage plays scripts on a lane: Admit, Leave, Finish, Close and ModelView are its commands.
type laneStage struct {
	*lane
	now time.Time
}

func (s *laneStage) Given(name, body string) error { _, err := s.When(name, body); return err }
func (s *laneStage) Wait(d time.Duration)          { s.now = s.now.Add(d) }

func (s *laneStage) When(name, body string) (out []string, err error) {
	if name == "ModelView" {
		v := &messages.ModelView{}
		if err := protojson.Unmarshal([]byte(body), v); err != nil {
			return nil, err
		}
		v.Id, v.Name = s.subject(), cmp.Or(v.Name, s.model)
		s.update(v, s.now)
		return s.pumped(), nil
	}
	var c struct {
		Ticket, Attempt uint64
		Class           int
		Failed, Left    bool
		Replica         string
	}
	if err := json.Unmarshal([]byte(body), &c); err != nil {
		return nil, err
	}
	switch name {
	case "Admit":
		position, err := s.admit(pending{c.Ticket, c.Class, s.now})
		switch {
		case err != nil:
			return []string{entitytest.Refusal(err)}, nil
		case position == 0:
			return []string{"granted"}, nil
		}
		return []string{"queued"}, nil
	case "Leave":
		return []string{fmt.Sprint("left ", s.leave(c.Ticket, s.now))}, nil
	case "Close":
		s.close(s.seat(cmp.Or(c.Replica, s.model)), c.Attempt, s.now)
		return []string{}, nil
	case "Finish":
		o := messages.Outcome{Failed: c.Failed}
		if c.Left {
			o.Err = context.Canceled
		}
		if _, changed := s.finish(c.Ticket, o, s.now); changed {
			out = append(out, "breaker changed")
		}
		return append(out, s.pumped()...), nil
	}
	return nil, fmt.Errorf("a lane knows no %s", name)
}

func (s *laneStage) pumped() []string {
	out := []string{}
	run, _, refusal := s.pump(s.now)
	for _, t := range run {
		out = append(out, fmt.Sprint("granted ", t))
	}
	if refusal != nil {
		out = append(out, "refuses who waits")
	}
	return out
}

func (s *laneStage) Show() []string {
	at := s.seats[0]
	running := map[uint64]uint64{}
	for ticket, r := range s.running {
		running[ticket] = r.attempt
	}
	return entitytest.Fields(struct {
		Ready    bool
		Closed   uint64
		Running  map[uint64]uint64
		Waiting  []uint64
		Breaker  string
		Failures int
		IdleMS   int64
	}{s.ready(), at.closed, running, s.tickets(), at.breaker.state(s.now), at.breaker.failures, s.idle(s.now).Milliseconds()})
}

func TestStories(t *testing.T) {
	entitytest.Play(t, "../../testdata/gateway", func() entitytest.Stage { return &laneStage{newLane(2, 2), entitytest.Epoch} })
}

// laneWalk takes random steps with a lane that has up to three workers on a host with few places.
type laneWalk struct {
	*rapid.T
	l    *lane
	h    *bulkhead
	now  time.Time
	next uint64
	held map[uint64]pending // tickets that the lane must know
}

// granted checks that a request's turn had come: nobody who waits goes before it, least of all who has waited for the longest bearable time.
func (w *laneWalk) granted(ticket uint64, waiting []pending) {
	p := w.held[ticket]
	for _, other := range waiting {
		if w.l.order.before(other, p, w.now) {
			w.Fatalf("%+v runs before %+v at %s", p, other, w.now)
		}
		if w.now.Sub(other.since) >= w.l.order.maxWait && other.since.Before(p.since) {
			w.Fatalf("%+v starves: it has waited for %s while %+v came later", other, w.now.Sub(other.since), p)
		}
	}
}

func (w *laneWalk) pump() {
	for {
		waiting := w.l.waiting.pendings()
		run, _, _ := w.l.pump(w.now)
		for _, ticket := range run { // each grant as it was made: with those who were granted later still waiting
			waiting = slices.DeleteFunc(waiting, func(p pending) bool { return p.ticket == ticket })
			w.granted(ticket, waiting)
		}
		if len(run) == 0 {
			return
		}
	}
}

func (w *laneWalk) step() {
	l := w.l
	switch rapid.IntRange(0, 7).Draw(w.T, "step") {
	case 0, 1, 2:
		w.next++
		p := pending{w.next, rapid.IntRange(0, 2).Draw(w.T, "class"), w.now}
		position, err := l.admit(p)
		if err == nil {
			w.held[w.next] = p
		}
		if err == nil && position == 0 {
			w.granted(w.next, l.waiting.pendings())
		}
		if at := l.waiting.position(w.next, l.order, w.now); at != position {
			w.Fatalf("told position %d, is at %d", position, at)
		}
	case 3, 4:
		if running := sorted(l.running); len(running) > 0 {
			ticket := rapid.SampledFrom(running).Draw(w.T, "ticket")
			l.finish(ticket, rapid.SampledFrom([]messages.Outcome{{}, {}, {Failed: true}, {Err: context.Canceled}}).Draw(w.T, "outcome"), w.now)
			if at, changed := l.finish(ticket, messages.Outcome{Failed: true}, w.now); at != nil || changed {
				w.Fatal("finishing twice counted twice")
			}
			delete(w.held, ticket)
			w.pump()
		}
	case 5:
		if l.waiting.n > 0 {
			ticket := rapid.SampledFrom(l.tickets()).Draw(w.T, "ticket")
			if !l.leave(ticket, w.now) || l.leave(ticket, w.now) {
				w.Fatal("who waits leaves once")
			}
			delete(w.held, ticket)
		}
	case 6:
		w.view()
	case 7:
		for _, ticket := range l.failAll(w.now) {
			delete(w.held, ticket)
		}
	}
}

func (w *laneWalk) view() {
	name := rapid.SampledFrom([]string{"tiny", "tiny", "tiny~2", "tiny~3"}).Draw(w.T, "worker")
	attempt := rapid.Uint64Range(1, 3).Draw(w.T, "attempt")
	if s := w.l.seat(name); s != nil && rapid.IntRange(0, 3).Draw(w.T, "closes") == 0 {
		w.l.close(s, attempt, w.now)
	}
	v := &messages.ModelView{Name: name, Attempt: attempt, Phase: rapid.SampledFrom([]string{"ready", "ready", "loading", "asleep", "absent"}).Draw(w.T, "phase")}
	if name == "tiny" || rapid.Bool().Draw(w.T, "declared") {
		v.Spec = &messages.ModelSpec{Name: name}
	}
	w.l.update(v, w.now)
	if s := w.l.seat(name); s != nil && s.ready && attempt <= s.closed {
		w.Fatalf("%s is ready in attempt %d, which was drained", name, attempt)
	}
	w.pump()
}

// check looks at what must always hold. before is how many ran at each worker before the step.
func (w *laneWalk) check(before map[*seat]int) {
	l := w.l
	at := map[*seat]int{}
	for _, r := range l.running {
		at[r.seat]++
	}
	for _, s := range l.seats {
		if s.running != at[s] || s.running > l.places() && s.running > before[s] {
			w.Fatalf("%s: %d run, %d are counted, %d may", s.name, at[s], s.running, l.places())
		}
	}
	if l.waiting.n > l.limits.MaxQueue || w.h.running.Load() != int64(len(l.running)) || w.h.waiting.Load() != int64(l.waiting.n) {
		w.Fatalf("%d run and %d wait, the host counts %d and %d", len(l.running), l.waiting.n, w.h.running.Load(), w.h.waiting.Load())
	}
	if got := slices.Sorted(slices.Values(append(sorted(l.running), l.tickets()...))); !slices.Equal(got, sorted(w.held)) {
		w.Fatalf("the lane knows %v of %v", got, sorted(w.held))
	}
	if len(l.running)+l.waiting.n > 0 && l.idle(w.now) != 0 {
		w.Fatal("idle while it works")
	}
	if l.ready() && len(l.running)+l.waiting.n == 0 && l.idleSince.IsZero() {
		w.Fatal("ready, nothing to do, and not idle: it would never be unloaded")
	}
	var places []int
	for _, p := range l.waiting.pendings() {
		places = append(places, l.waiting.position(p.ticket, l.order, w.now))
		if l.expectedWait(len(places), w.now) <= 0 {
			w.Fatal("expected to wait for no time")
		}
	}
	slices.Sort(places)
	for i, p := range places {
		if p != i+1 {
			w.Fatalf("positions %v", places)
		}
	}
}

// Whatever comes in whatever order: never more run at a worker or wait than may, the host's counts are right, who goes first by class and
// age runs first, nobody starves, and every ticket is somewhere until it has gone.
func TestLaneInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLane(rapid.IntRange(1, 4).Draw(t, "concurrent"), rapid.IntRange(0, 6).Draw(t, "queue"))
		w := &laneWalk{T: t, l: l, h: &bulkhead{}, now: entitytest.Epoch, held: map[uint64]pending{}}
		w.h.bound(Limits{rapid.IntRange(0, 6).Draw(t, "host"), rapid.IntRange(0, 6).Draw(t, "host queue")})
		l.host, l.order = w.h, order{maxWait: time.Minute}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			w.now = w.now.Add(time.Duration(rapid.IntRange(0, 30).Draw(t, "seconds")) * time.Second)
			before := map[*seat]int{}
			for _, s := range l.seats {
				before[s] = s.running
			}
			w.step()
			w.check(before)
		}
	})
}

// Aging: however many of the first class keep coming, a request of the last class runs before any that came after it had waited for maxWait.
func TestNobodyStarves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		classes := rapid.IntRange(1, 5).Draw(t, "classes")
		o := order{maxWait: time.Duration(rapid.IntRange(1, 100).Draw(t, "max wait")) * time.Second}
		last := pending{1, classes - 1, entitytest.Epoch}
		rank := o.rank(last, last.since)
		for after := time.Duration(0); after <= o.maxWait; after += o.maxWait / 16 {
			now := last.since.Add(after)
			if r := o.rank(last, now); r > rank {
				t.Fatalf("falls from %d to %d with time", rank, r)
			} else {
				rank = r
			}
		}
		late := pending{2, rapid.IntRange(0, classes-1).Draw(t, "class"), last.since.Add(time.Duration(rapid.IntRange(1, 200).Draw(t, "later")) * time.Second)}
		now := late.since.Add(time.Duration(rapid.IntRange(0, 200).Draw(t, "after")) * time.Second)
		if now.Sub(last.since) >= o.maxWait && !o.before(last, late, now) {
			t.Fatalf("%+v goes before %+v, which has waited for %s of at most %s", late, last, now.Sub(last.since), o.maxWait)
		}
	})
}

func sorted[V any](m map[uint64]V) []uint64 {
	out := make([]uint64, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// The breaker opens after threshold failures in a row, and then lets exactly one through at a time, until one succeeds.
func TestBreakerInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := &breaker{threshold: rapid.IntRange(1, 4).Draw(t, "threshold"), reset: 20 * time.Second}
		now, next, row := entitytest.Epoch, uint64(0), 0
		running := map[uint64]bool{} // true = let in while the breaker was open
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 12).Draw(t, "seconds")) * time.Second)
			if rapid.Bool().Draw(t, "admit") {
				next++
				was := b.state(now)
				ok, retry := b.admit(next, now)
				if ok == (was == Opened) && was != HalfOpen || !ok && retry <= 0 {
					t.Fatalf("%s: let in %t, retry %s", was, ok, retry)
				}
				if ok {
					running[next] = b.open
				}
			} else if ts := sorted(running); len(ts) > 0 {
				ticket := rapid.SampledFrom(ts).Draw(t, "ticket")
				probe, open := running[ticket], b.open
				delete(running, ticket)
				switch rapid.IntRange(0, 2).Draw(t, "outcome") {
				case 0:
					b.forgive(ticket)
					if b.open != open {
						t.Fatal("a caller that left moved the breaker")
					}
				case 1:
					if b.record(ticket, false, now); !open || probe {
						row = 0
					}
				case 2:
					if b.record(ticket, true, now); !open || probe {
						row++
					}
				}
			}
			probes := 0
			for _, probe := range running {
				if probe && b.open {
					probes++
				}
			}
			if b.open != (row >= b.threshold) || probes > 1 {
				t.Fatalf("open %t after %d failures in a row of %d; %d probes run", b.open, row, b.threshold, probes)
			}
		}
	})
}
