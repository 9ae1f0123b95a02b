package gateway

import (
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
	return &lane{limits: Limits{MaxConcurrent: concurrent, MaxQueue: queue}, running: map[uint64]uint64{},
		view:    &messages.ModelView{Id: "model/main_pc/tiny", Name: "tiny"},
		breaker: breaker{threshold: 2, reset: 20 * time.Second}}
}

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
		v.Id, v.Name = s.subject(), s.name()
		s.update(v, s.now)
		return s.pumped(), nil
	}
	var c struct {
		Ticket, Attempt uint64
		Failed, Left    bool
	}
	if err := json.Unmarshal([]byte(body), &c); err != nil {
		return nil, err
	}
	switch name {
	case "Admit":
		how, err := s.admit(c.Ticket, s.now)
		if err != nil {
			return []string{entitytest.Refusal(err)}, nil
		}
		return []string{map[admission]string{granted: "granted", queued: "queued"}[how]}, nil
	case "Leave":
		return []string{fmt.Sprint("left ", s.leave(c.Ticket, s.now))}, nil
	case "Close":
		s.close(c.Attempt)
		return []string{}, nil
	case "Finish":
		o := messages.Outcome{Failed: c.Failed}
		if c.Left {
			o.Err = context.Canceled
		}
		if s.finish(c.Ticket, o, time.Second, s.now) {
			out = append(out, "breaker changed")
		}
		return append(out, s.pumped()...), nil
	}
	return nil, fmt.Errorf("a lane knows no %s", name)
}

func (s *laneStage) pumped() []string {
	out := []string{}
	for _, t := range s.pump(s.now) {
		out = append(out, fmt.Sprint("granted ", t))
	}
	return out
}

func (s *laneStage) Show() []string {
	return entitytest.Fields(struct {
		Ready    bool
		Closed   uint64
		Running  map[uint64]uint64
		Waiting  []uint64
		Breaker  string
		Failures int
		IdleMS   int64
	}{s.ready, s.closed, s.running, s.waiting, s.breaker.state(s.now), s.breaker.failures, s.idle(s.now).Milliseconds()})
}

func TestStories(t *testing.T) {
	entitytest.Play(t, "../../testdata/gateway", func() entitytest.Stage { return &laneStage{newLane(2, 2), entitytest.Epoch} })
}

// Whatever comes in whatever order: never more run than may, never more wait than may, who came first runs first, and every ticket
// is somewhere until it has gone.
func TestLaneInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLane(rapid.IntRange(1, 4).Draw(t, "concurrent"), rapid.IntRange(0, 4).Draw(t, "queue"))
		now, next, lastGranted := entitytest.Epoch, uint64(0), uint64(0)
		held := map[uint64]bool{} // tickets that the lane must know
		grant := func(ticket uint64) {
			if ticket < lastGranted {
				t.Fatalf("%d runs after %d, which came later", ticket, lastGranted)
			}
			lastGranted = ticket
		}
		pump := func() {
			for _, g := range l.pump(now) {
				grant(g)
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 15).Draw(t, "seconds")) * time.Second)
			before := len(l.running)
			switch rapid.IntRange(0, 7).Draw(t, "step") {
			case 0, 1, 2:
				next++
				how, err := l.admit(next, now)
				if err == nil {
					held[next] = true
				}
				if err == nil && how == granted {
					grant(next)
				}
			case 3, 4:
				if running := sorted(l.running); len(running) > 0 {
					ticket := rapid.SampledFrom(running).Draw(t, "ticket")
					o := rapid.SampledFrom([]messages.Outcome{{}, {}, {Failed: true}, {Err: context.Canceled}}).Draw(t, "outcome")
					l.finish(ticket, o, time.Second, now)
					if l.finish(ticket, messages.Outcome{Failed: true}, 0, now) {
						t.Fatal("finishing twice counted twice")
					}
					delete(held, ticket)
					pump()
				}
			case 5:
				if len(l.waiting) > 0 {
					ticket := rapid.SampledFrom(l.waiting).Draw(t, "ticket")
					if !l.leave(ticket, now) || l.leave(ticket, now) {
						t.Fatal("who waits leaves once")
					}
					delete(held, ticket)
				}
			case 7:
				for _, ticket := range l.failAll(now) {
					delete(held, ticket)
				}
			case 6:
				attempt := rapid.Uint64Range(1, 3).Draw(t, "attempt")
				if rapid.IntRange(0, 3).Draw(t, "closes") == 0 {
					l.close(attempt)
				}
				l.update(&messages.ModelView{Name: "tiny", Attempt: attempt, Phase: rapid.SampledFrom([]string{"ready", "ready", "loading"}).Draw(t, "phase")}, now)
				if l.ready && attempt <= l.closed {
					t.Fatalf("ready in attempt %d, which was drained", attempt)
				}
				pump()
			}
			if len(l.running) > before && len(l.running) > l.limit() || len(l.waiting) > l.limits.MaxQueue || !slices.IsSorted(l.waiting) {
				t.Fatalf("running %d of %d, waiting %v of %d", len(l.running), l.limit(), l.waiting, l.limits.MaxQueue)
			}
			if got := slices.Sorted(slices.Values(append(sorted(l.running), l.waiting...))); !slices.Equal(got, sorted(held)) {
				t.Fatalf("the lane knows %v of %v", got, sorted(held))
			}
			if len(l.running)+len(l.waiting) > 0 && l.idle(now) != 0 {
				t.Fatal("idle while it works")
			}
			if l.ready && len(l.running)+len(l.waiting) == 0 && l.idleSince.IsZero() {
				t.Fatal("ready, nothing to do, and not idle: it would never be unloaded")
			}
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
