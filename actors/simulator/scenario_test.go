package simulator

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"modelops/actors/model"
	"modelops/messages"
)

// The scenarios of docs/scenarios.md that the scheduler decides, in a world where only the named thing goes wrong.

// stage is a world without chance requests, and what a scenario does with it.
type stage struct {
	*World
	t *testing.T
}

func onStage(t *testing.T, o Options) stage {
	t.Helper()
	return stage{New(o), t}
}

// until runs on until something holds, at most for a while of virtual time.
func (s stage) until(what string, within time.Duration, holds func() bool) {
	s.t.Helper()
	for deadline := s.elapsed + within; !holds(); {
		if s.elapsed > deadline || !s.step() {
			s.t.Fatalf("%s: not within %s; %v\n%s", what, within, s.err(), s.last())
		}
	}
}

func (s stage) last() string {
	out := ""
	for _, line := range s.told.words() {
		out += line + "\n"
	}
	return out
}

// lasts lets time pass.
func (s stage) lasts(d time.Duration) {
	s.t.Helper()
	end := s.elapsed + d
	s.until("time passes", d+time.Minute, func() bool { return s.elapsed >= end })
}

func (s stage) rests() {
	s.t.Helper()
	if err := s.Calm(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

func (s stage) phase(name string) model.Phase {
	return s.models[s.byID[messages.ModelActor(hostName(0), name)]].state.Phase
}

// idle is how long no request of a model ran or waited.
func (s stage) idle(name string) time.Duration {
	f := s.frontOf(s.byID[messages.ModelActor(hostName(0), name)])
	return f.pool.Idle(f.now())
}

func (s stage) ready(name string) {
	s.t.Helper()
	s.call(name, time.Millisecond)
	s.until(name+" is ready", time.Minute, func() bool { return s.phase(name) == model.Ready && s.idle(name) > 0 })
}

func (s stage) ended(r *request, within time.Duration) *request {
	s.t.Helper()
	s.until("the request ends", within, func() bool { return r.ended })
	return r
}

// plain is a model whose file tells the truth.
func plain(name string, gib uint64) Model {
	return Model{Name: name, Estimate: gib * messages.GiB, Truth: gib * messages.GiB, Load: 2 * time.Second}
}

func oneCard(models ...Model) Options {
	return Options{Seed: 1, Devices: []uint64{24 * messages.GiB}, Models: models}
}

func TestS01AVictimThatIsAskedBetweenChoiceAndUnloadHarmsNobody(t *testing.T) {
	for seed := uint64(1); seed <= 50; seed++ {
		o := oneCard(plain("old", 20), plain("new", 20))
		o.Seed = seed
		s := onStage(t, o)
		s.ready("old")
		wanting := s.call("new", time.Second)
		s.until("the victim is chosen", time.Minute, func() bool { return len(s.arbiter.state.Open) > 0 })
		victim := s.call("old", time.Second)
		for _, r := range []*request{wanting, victim} {
			if s.ended(r, s.Bound()); r.code != 0 {
				t.Fatalf("seed %d: %s got %s", seed, s.o.Models[r.model].Name, r.code)
			}
		}
		s.rests()
	}
}

func TestS02AModelLargerThanEveryDeviceFailsFastAndEvictsNothing(t *testing.T) {
	s := onStage(t, oneCard(plain("there", 20), plain("huge", 40)))
	s.ready("there")
	r := s.ended(s.call("huge", time.Second), time.Second)
	if r.code != messages.GPUUnavailable {
		t.Errorf("it got %s", r.code)
	}
	if s.tally.evictions > 0 || s.phase("there") != model.Ready {
		t.Error("a model was evicted for it")
	}
}

func TestS03TwoUnloadsWakeTheirOwnWaiters(t *testing.T) {
	for seed := uint64(1); seed <= 50; seed++ {
		o := Options{Seed: seed, Devices: []uint64{12 * messages.GiB, 24 * messages.GiB}, Models: []Model{plain("small", 10), plain("big", 20), plain("s2", 11), plain("b2", 22)}}
		s := onStage(t, o)
		s.ready("big")
		s.ready("small")
		a, b := s.call("s2", time.Second), s.call("b2", time.Second)
		for _, r := range []*request{s.ended(a, s.Bound()), s.ended(b, s.Bound())} {
			if r.code != 0 {
				t.Fatalf("seed %d: %s got %s", seed, o.Models[r.model].Name, r.code)
			}
		}
		s.rests()
	}
}

func TestS04ARequestInTheInstantOfTheIdleUnloadIsAnswered(t *testing.T) {
	m := plain("a", 8)
	m.Idle = 3 * time.Second
	for seed := uint64(1); seed <= 20; seed++ {
		o := oneCard(m)
		o.Seed = seed
		s := onStage(t, o)
		s.ready("a")
		s.until("its idle time is over", time.Minute, func() bool { return s.phase("a") == model.Draining })
		if r := s.ended(s.call("a", time.Second), time.Minute); r.code != 0 {
			t.Fatalf("seed %d: it got %s", seed, r.code)
		}
	}
}

func TestS05AlternatingRequestsAreCollated(t *testing.T) {
	one := func(name string) Model { m := plain(name, 20); m.Places = 1; return m }
	s := onStage(t, oneCard(one("A"), one("B"), one("C")))
	s.ready("A")
	began := s.tally.loads
	var all []*request
	for _, name := range []string{"A", "B", "A", "A", "C", "A", "B", "C"} {
		all = append(all, s.call(name, 500*time.Millisecond))
	}
	for _, r := range all {
		if s.ended(r, s.Bound()); r.code != 0 {
			t.Errorf("%s got %s", s.o.Models[r.model].Name, r.code)
		}
	}
	if swaps := s.tally.loads - began; swaps > 3 {
		t.Errorf("%d swaps for A B A A C A B C, want at most 3", swaps)
	}
}

// callers asks one after the other, each request a moment after the answer to the one before.
func (s stage) callers(pause time.Duration, names ...string) *[]*request {
	all := new([]*request)
	var next func()
	next = func() {
		if len(*all) == len(names) {
			return
		}
		r := s.call(names[len(*all)], 300*time.Millisecond)
		*all = append(*all, r)
		s.whenEnded(r, func() { s.after(pause, next) })
	}
	next()
	return all
}

// whenEnded does something once a request has its answer.
func (s stage) whenEnded(r *request, do func()) {
	s.after(10*time.Millisecond, func() {
		if r.ended {
			do()
			return
		}
		s.whenEnded(r, do)
	})
}

func TestS05GapsBetweenACallersRequestsAreNoChanceForOthers(t *testing.T) {
	one := func(name string) Model { m := plain(name, 20); m.Places = 1; return m }
	swaps := func(seed uint64, collation time.Duration) int {
		o := oneCard(one("A"), one("B"), one("C"))
		o.Seed, o.Collation = seed, collation
		s := onStage(t, o)
		s.ready("A")
		began := s.tally.loads
		as := s.callers(40*time.Millisecond, "A", "A", "A", "A", "A", "A")
		s.lasts(100 * time.Millisecond)
		c := s.call("C", 300*time.Millisecond)
		s.until("all are answered", s.Bound(), func() bool { return len(*as) == 6 && (*as)[5].ended && c.ended })
		for _, r := range append(*as, c) {
			if r.code != 0 {
				t.Errorf("%s got %s", s.o.Models[r.model].Name, r.code)
			}
		}
		return s.tally.loads - began
	}
	without := 0
	for seed := uint64(1); seed <= 20; seed++ {
		if n := swaps(seed, 100*time.Millisecond); n != 1 {
			t.Errorf("seed %d: %d swaps for A A C A A A A from callers who ask one after the other, want C's only", seed, n)
		}
		without += swaps(seed, 0)
	}
	if without == 20 {
		t.Error("without collation there is nothing to see: the test proves nothing")
	}
}

func TestS05CollationEndsWhenSomebodyIsOverdue(t *testing.T) {
	o := oneCard(plain("A", 20), plain("C", 20))
	o.Collation, o.MaxWait = 500*time.Millisecond, 5*time.Second
	s := onStage(t, o)
	s.ready("A")
	as := s.callers(100*time.Millisecond, slices.Repeat([]string{"A"}, 200)...)
	c := s.call("C", 300*time.Millisecond)
	s.until("C is answered", s.Bound(), func() bool { return c.ended })
	if c.code != 0 || len(*as) == 200 {
		t.Errorf("C got %s, after %d requests of A", c.code, len(*as))
	}
}

func TestS13AWorkerThatDiesMidLoadPinsNobody(t *testing.T) {
	s := onStage(t, oneCard(plain("dying", 20), plain("next", 20)))
	s.call("dying", time.Second)
	s.until("it loads", time.Minute, func() bool { return len(s.workers) > 0 })
	s.die(s.workers[0], "its host died")
	if r := s.ended(s.call("next", time.Second), s.Bound()); r.code != 0 {
		t.Errorf("the next model got %s", r.code)
	}
	s.rests()
}

func TestS18TheNextLoadSeesWhatStrangersTook(t *testing.T) {
	s := onStage(t, oneCard(plain("there", 8), plain("next", 14)))
	s.ready("there")
	s.devices[0].foreign = 10 * messages.GiB
	s.lasts(2 * pollEvery)
	r := s.call("next", time.Second)
	s.lasts(5 * time.Second)
	if r.ended || len(s.workers) != 1 {
		t.Errorf("14 GiB were loaded beside 10 GiB of strangers and 8 GiB of ours in 24 (ended %t, %d workers)", r.ended, len(s.workers))
	}
	s.devices[0].foreign = 0
	if s.ended(r, s.Bound()); r.code != 0 {
		t.Errorf("when the strangers had gone it got %s", r.code)
	}
}

func TestS19ACrashedEnginesMemoryIsThereAtOnce(t *testing.T) {
	s := onStage(t, oneCard(plain("crashing", 20), plain("next", 20)))
	s.ready("crashing")
	died := s.elapsed
	s.die(s.workers[0], "it crashed")
	_, _ = s.models[0].ask(&messages.UnloadModel{})
	r := s.ended(s.call("next", time.Millisecond), time.Minute)
	if took := s.elapsed - died; r.code != 0 || took > 4*time.Second {
		t.Errorf("the next model answered %s after %s; it loads in 2 s", r.code, took)
	}
}

func TestS20OutOfMemoryInOneModelLeavesTheOthers(t *testing.T) {
	liar := plain("liar", 4)
	liar.Truth = 15 * messages.GiB
	s := onStage(t, oneCard(plain("a", 5), plain("b", 5), liar))
	s.ready("a")
	s.ready("b")
	if r := s.ended(s.call("liar", time.Second), s.Bound()); s.tally.oom == 0 {
		t.Fatalf("it didn't run out of memory (%s)", r.code)
	}
	if s.phase("a") != model.Ready && s.phase("b") != model.Ready {
		t.Error("both others had to leave for a wrong estimate")
	}
	if s.tally.oom > 4 {
		t.Errorf("it ran out of memory %d times", s.tally.oom)
	}
	s.rests()
}

func TestS25FiftyPreloadsAreTwoAtATime(t *testing.T) {
	o := Options{Seed: 1, Devices: []uint64{200 * messages.GiB}, Faults: Faults{LoadDies: 0.2, StartFails: 0.1}}
	for i := range 50 {
		m := plain(fmt.Sprintf("m%02d", i), 3)
		m.Load = time.Second
		o.Models = append(o.Models, m)
	}
	s := onStage(t, o)
	for _, m := range s.models {
		_, _ = m.ask(&messages.EnsureModel{Reason: "preload"})
	}
	s.until("all are ready or failed", 10*time.Minute, func() bool { // each step checks that at most two load
		for _, m := range s.models {
			if m.state.Phase != model.Ready && m.state.Phase != model.Failed {
				return false
			}
		}
		return true
	})
	ready := 0
	for _, m := range s.models {
		if m.state.Phase == model.Ready {
			ready++
		}
	}
	if ready < 45 {
		t.Errorf("%d of 50 are ready: with four tries each, nearly all should be", ready)
	}
}

func TestS30AnHourBackMakesNobodyWaitForAnHour(t *testing.T) {
	for _, jump := range []time.Duration{-time.Hour, time.Hour} {
		s := onStage(t, oneCard(plain("old", 20), plain("new", 20)))
		s.ready("old")
		_, _ = s.models[0].ask(&messages.PinModel{Owner: "a person", TtlSeconds: 20})
		_, _ = s.ledgers[0].ask(&messages.ReserveVram{Lease: "L", Holder: "a program", Bytes: messages.GiB, TtlSeconds: 10})
		s.skew = jump
		began := s.elapsed
		r := s.call("new", time.Second)
		s.until("the lease expires", time.Minute, func() bool { return len(s.ledgers[0].state.Leases) < 2 })
		if after := s.elapsed - began; after < 9*time.Second || after > 11*time.Second {
			t.Errorf("%s: a lease of 10 s ended after %s", jump, after)
		}
		s.fall() // and the same with a restart in between
		s.ended(r, 0)
		r = s.ended(s.call("old", time.Millisecond), time.Minute)
		s.until("the coordinator is back", time.Minute, func() bool { return !s.down })
		if r = s.ended(s.call("new", time.Second), s.Bound()); r.code != 0 {
			t.Errorf("%s: it got %s", jump, r.code)
		}
		s.rests()
	}
}

// A sleeping model holds nearly nothing: others find room without evicting it. When it wakes there may be no room; then it is placed like any
// other model.
func TestAModelSleepsAndWakesUnderPressure(t *testing.T) {
	sleeper := plain("sleeper", 16)
	sleeper.Sleep = 2 * time.Second
	for seed := uint64(1); seed <= 20; seed++ {
		o := oneCard(sleeper, plain("other", 16))
		o.Seed = seed
		s := onStage(t, o)
		s.ready("sleeper")
		asleep := func() bool { return s.phase("sleeper") == model.Asleep && !s.models[0].state.Unsettled }
		s.until("it sleeps", time.Minute, asleep)
		loads := s.tally.loads
		if r := s.ended(s.call("sleeper", time.Second), time.Second*2); r.code != 0 || s.tally.loads != loads {
			t.Fatalf("seed %d: with room it answered %s after %d loads", seed, r.code, s.tally.loads-loads)
		}
		s.until("it sleeps again", time.Minute, asleep)
		s.ready("other")
		if s.tally.evictions > 0 || s.phase("sleeper") != model.Asleep {
			t.Fatalf("seed %d: the sleeper had to leave though it held nothing", seed)
		}
		if r := s.ended(s.call("sleeper", time.Second), s.Bound()); r.code != 0 || s.phase("other") == model.Ready {
			t.Fatalf("seed %d: without room it answered %s, and other is %s", seed, r.code, s.phase("other"))
		}
		s.rests()
	}
}
