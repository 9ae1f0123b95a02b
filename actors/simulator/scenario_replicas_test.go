package simulator

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/actors/model"
	"modelops/messages"
)

// The scenarios of models with several workers, and of workers that do badly.

// stateOf is that of an actor, which may not have come into being yet.
func (s stage) stateOf(name string) model.State {
	if i, ok := s.byID[messages.ModelActor(hostName(0), name)]; ok {
		return s.models[i].state
	}
	return model.State{Phase: model.Absent}
}

// alone tells whether a model is ready again with one worker that isn't its first, and nothing of a replacement is left.
func (s stage) alone(name string) bool {
	m := s.stateOf(name)
	if s.down || m.Phase != model.Ready || m.Attempt < 2 || m.Replacement != nil || len(m.Replicas) > 0 || len(s.workers) != 1 {
		return false
	}
	r := s.stateOf(messages.ReplicaName(name, 2))
	return r.Phase == model.Absent && len(r.Returning) == 0
}

// watching tells a test of each decision on a model.
func watching(see func(id messages.ActorID, e proto.Message)) Plants {
	return Plants{Model: func(k entity.Kind[model.State]) entity.Kind[model.State] {
		right := k.Decide
		k.Decide = func(s model.State, c proto.Message, at entity.Stamp) (entity.Verdict, error) {
			v, err := right(s, c, at)
			for _, e := range v.Events {
				see(s.ID, e)
			}
			return v, err
		}
		return k
	}}
}

func TestADegradedWorkerIsReplacedWithoutAFailedRequestWhereThereIsRoomForTwo(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		for _, sick := range []condition{slow, failing, silent} {
			o := oneCard(plain("m", 8))
			o.Seed = seed
			var replaced time.Duration
			var s stage
			o.Plants = watching(func(_ messages.ActorID, e proto.Message) {
				if _, ok := e.(*messages.WorkerReplaced); ok {
					replaced = s.elapsed
				}
			})
			s = onStage(t, o)
			s.ready("m")
			s.workers[0].condition = sick
			every := 200 * time.Millisecond
			if sick == slow { // no more than a slow worker answers: the queue mustn't be full before its pace is known
				every = time.Second
			}
			var all []*request
			var ask func()
			ask = func() { all = append(all, s.call("m", 300*time.Millisecond)); s.after(every, ask) }
			ask()
			s.until("it is replaced", 3*time.Minute, func() bool { return s.alone("m") })
			if replaced == 0 {
				t.Fatalf("seed %d: it started anew without a replacement", seed)
			}
			s.until("all that came are answered", 2*runLongest, func() bool { return !slices.ContainsFunc(all[:len(all)-20], func(r *request) bool { return !r.ended }) })
			for _, r := range all {
				if r.ended && r.code != 0 && (sick == slow || r.arrived > replaced) {
					t.Fatalf("seed %d, condition %d: a request that came %s after the replacement got %s", seed, sick, r.arrived-replaced, r.code)
				}
			}
			if s.tally.loads != 3 {
				t.Errorf("seed %d: %d workers were started: the first, its replacement, and its own next", seed, s.tally.loads)
			}
		}
	}
}

func TestADegradedWorkerStartsAnewInPlaceWhereThereIsNoRoomForTwo(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		o := oneCard(plain("m", 16), plain("other", 4))
		o.Seed = seed
		s := onStage(t, o)
		s.ready("other")
		s.ready("m")
		s.workers[1].condition = slow
		var all []*request
		var ask func()
		ask = func() { all = append(all, s.call("m", 300*time.Millisecond)); s.after(time.Second, ask) }
		ask()
		s.until("it is another worker", 2*time.Minute, func() bool { m := s.stateOf("m"); return m.Phase == model.Ready && m.Attempt == 2 })
		s.until("the replacement is given up", time.Minute, func() bool {
			r := s.stateOf("m~2")
			return r.Phase == model.Absent && !r.Wanted && s.stateOf("m").Replacement == nil && len(s.stateOf("m").Replicas) == 0
		})
		s.lasts(runLongest)
		for _, r := range all[:len(all)-5] {
			if r.code != 0 || !r.ended {
				t.Fatalf("seed %d: one that came after %s got %s", seed, r.arrived, r.code)
			}
		}
		if s.phase("other") != model.Ready || s.tally.evictions > 0 {
			t.Errorf("seed %d: %d evictions for a replacement that couldn't be had", seed, s.tally.evictions)
		}
	}
}

// The coordinator is killed after each step of a replacement, and before each decision on it. What was begun comes to its end.
func TestTheCoordinatorDiesAtEachStepOfAReplacement(t *testing.T) {
	for gib, what := range map[uint64]string{8: "two fit", 16: "one fits"} {
		t.Run(what+", between steps", func(t *testing.T) {
			for n := 0; n < 400; n += 3 {
				s := degraded(t, uint64(n+1), gib, Plants{})
				for range n {
					s.step()
				}
				s.fall()
				s.endsWell(fmt.Sprintf("after %d steps", n))
			}
		})
		t.Run(what+", before decisions", func(t *testing.T) {
			for n, died := 1, true; died; n++ {
				left, armed := n, false
				died = false
				s := degraded(t, uint64(n), gib, watching(func(messages.ActorID, proto.Message) {
					if !armed {
						return
					}
					if left--; left == 0 {
						died = true
						panic(crash{})
					}
				}))
				armed = true
				s.until("the coordinator dies, or all is done", 3*time.Minute, func() bool { return died || s.alone("m") })
				armed = false
				s.endsWell(fmt.Sprintf("at decision %d", n))
				if n > 100 {
					t.Fatal("a replacement takes more than 100 decisions")
				}
			}
		})
	}
}

// degraded is a stage where the replacement of a model's worker begins.
func degraded(t *testing.T, seed, gib uint64, r Plants) stage {
	o := oneCard(plain("m", gib))
	o.Seed, o.Plants = seed, r
	s := onStage(t, o)
	s.ready("m")
	door{s.World}.Tell(&try{}, s.models[0].id, &messages.ReplaceWorker{Replica: "m", Attempt: 1, Reason: "a test"})
	return s
}

func (s stage) endsWell(when string) {
	s.t.Helper()
	began := s.stateOf("m").Attempt > 1 || s.stateOf("m").Replacement != nil // else the order died with the coordinator
	s.until(when+": the coordinator is back and all is done", 3*time.Minute, func() bool {
		m := s.stateOf("m")
		return !s.down && (s.alone("m") || !began && m.Phase == model.Ready && m.Replacement == nil && m.Attempt == 1)
	})
	if r := s.ended(s.call("m", time.Millisecond), time.Second); r.code != 0 {
		s.t.Fatalf("%s: it answers %s", when, r.code)
	}
	for _, m := range s.models {
		if err := m.proven(); err != nil {
			s.t.Fatalf("%s: %v", when, err)
		}
	}
	s.rests()
}

// While the replacement serves, no request asks for the model whose own worker can't start for a while: it is loaded again all the same, and the
// replacement goes.
func TestAReplacementStepsBackAlsoWhenItsModelFailedForAWhile(t *testing.T) {
	for seed := uint64(1); seed <= 10; seed++ {
		s := degraded(t, seed, 8, Plants{})
		s.until("its worker is drained", time.Minute, func() bool { return s.stateOf("m").Phase == model.Draining })
		s.o.Faults.StartFails = 1
		s.until("it failed for good", 5*time.Minute, func() bool { return s.phase("m") == model.Failed })
		s.o.Faults.StartFails = 0
		if r := s.ended(s.call("m", time.Millisecond), time.Second); r.code != 0 {
			t.Fatalf("seed %d: the replacement answers %s", seed, r.code)
		}
		s.until("it has its own worker again, and that one only", 2*time.Minute, func() bool { return s.alone("m") })
		s.rests()
	}
}

// A worker that is ready may be put to sleep before its model looks at it again: no request comes any more. The replacement goes on all the same.
func TestASleeperDoesntHoldAReplacementUp(t *testing.T) {
	for seed := uint64(1); seed <= 10; seed++ {
		for _, who := range []string{"m", "m~2"} {
			m := plain("m", 6)
			m.Sleep = 10 * time.Millisecond
			if who != "m" {
				m.MinReplicas, m.MaxReplicas = 2, 2
			}
			o := oneCard(m)
			o.Seed = seed
			s := onStage(t, o)
			s.ready("m")
			s.until("all its workers are awake at once", time.Minute, func() bool {
				for _, name := range []string{"m", who} {
					if s.stateOf(name).Phase == model.Asleep {
						_, _ = s.models[s.byID[messages.ModelActor(hostName(0), name)]].ask(&messages.EnsureModel{Reason: "a test"})
					}
				}
				return s.stateOf("m").Phase == model.Ready && s.stateOf(who).Phase == model.Ready
			})
			if _, err := s.models[0].ask(&messages.ReplaceWorker{Replica: who, Attempt: s.stateOf(who).Attempt, Reason: "a test"}); err != nil || s.stateOf("m").Replacement == nil {
				t.Fatal(err)
			}
			s.until("it is replaced", time.Minute, func() bool { return s.stateOf(who).Attempt > 1 && s.stateOf("m").Replacement == nil })
			s.rests()
		}
	}
}

// Names are reused: fifty replacements leave no more behind than one.
func TestFiftyReplacementsLeaveNothingBehind(t *testing.T) {
	m := plain("m", 4)
	m.MinReplicas, m.MaxReplicas = 2, 2
	s := onStage(t, oneCard(m))
	s.ready("m")
	s.until("its replica is there", time.Minute, func() bool { return s.stateOf("m~2").Phase == model.Ready })
	var actors, nodes, endpoints, state int
	for n := range 50 {
		who := []string{"m", "m~2"}[n%2]
		before := s.stateOf(who).Attempt
		_, _ = s.models[0].ask(&messages.ReplaceWorker{Replica: who, Attempt: before, Reason: "a test"})
		s.until(fmt.Sprintf("%s is another one", who), time.Minute, func() bool {
			x, m := s.stateOf(who), s.stateOf("m")
			return x.Attempt > before && x.Phase == model.Ready && m.Replacement == nil && len(m.Replicas) == 1 && len(s.workers) == 2 && len(s.ledgers[0].state.Leases) == 2
		})
		for _, m := range s.models {
			if err := m.proven(); err != nil {
				t.Fatal(err)
			}
		}
		size := len(s.models[0].book.snapshot.State)
		if n == 4 {
			actors, nodes, endpoints, state = len(s.models), len(s.nodes), len(s.fronts[0].pool.Endpoints()), size
		}
		if n > 4 && (len(s.models) != actors || len(s.nodes) != nodes || len(s.fronts[0].pool.Endpoints()) != endpoints || size > state+64) {
			t.Fatalf("after %d replacements: %d actors (%d after five), %d endpoints (%d), a state of %d bytes (%d)", n+1, len(s.models), actors, len(s.fronts[0].pool.Endpoints()), endpoints, size, state)
		}
	}
	if actors != 3 {
		t.Errorf("%d actors for a model, its replica and their replacements", actors)
	}
	s.rests()
}
