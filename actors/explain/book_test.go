package explain

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"modelops/messages"
)

var modelA = Question{Subject: "a", Model: messages.ModelActor("main_pc", "a")}

// cycled has model a come and go, after it was loaded for a first time.
func cycled(times int) *tale {
	s := twoLoaded()
	for n := range uint64(times) {
		s.tell(m("a"), &messages.ModelUnwanted{Reason: "its idle time is over"}, &messages.ModelDraining{Reason: "its idle time is over"})
		s.tell(m("a"), &messages.WorkerExited{Reason: "stopped"})
		s.tell(dev("sim0"), &messages.VramReleased{Lease: fmt.Sprintf("p-a-%d", n+1), Reason: "its worker is gone"})
		s.caused(fmt.Sprintf("r%d", n+2), m("a"), &messages.ModelWanted{Reason: "a request waits for it", Attempt: n + 2})
		s.load(decided("a", n+2, "sim0", messages.Need_measured, weighed("sim0", 0, 12000, chosen)), n+2)
	}
	return s
}

// slow is a journal whose readings wait until they may go on.
type slow struct {
	growing
	may chan struct{} // closed once they may
}

func (s *slow) Replay(ctx context.Context, after, until uint64, fn func(messages.Recorded) error) error {
	select {
	case <-s.may:
	case <-ctx.Done():
		return messages.AsError(ctx.Err())
	}
	return s.growing.Replay(ctx, after, until, fn)
}

// ask has many ask at once, and returns once all wait for the journal or have their answer.
func ask(b *Book, n int, question func(i int) Question, p Present) *sync.WaitGroup {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { _, _ = Why(context.Background(), question(i), p, b) })
	}
	synctest.Wait()
	return &all
}

func TestManyAskersBuildTheIndexOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &slow{growing: growing{tale: cycled(3)}, may: make(chan struct{})}
		b := NewBook("", j)
		all := ask(b, 64, func(int) Question { return modelA }, j.present())
		close(j.may)
		all.Wait()
		if n := j.replays.Load(); n != 1 {
			t.Errorf("the journal was read %d times", n)
		}
	})
}

// The index let go of everything but the last decisions. Questions about older ones share readings: the first begins one, those that come
// meanwhile share the next.
func TestManyAskersSearchTheJournalTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &slow{growing: growing{tale: cycled(10)}, may: make(chan struct{})}
		close(j.may)
		b := newBook("", j, tiny)
		if _, err := Why(t.Context(), modelA, j.present(), b); err != nil {
			t.Fatal(err)
		}
		j.may = make(chan struct{})
		all := ask(b, 64, func(i int) Question { return Question{Subject: "x", ID: fmt.Sprintf("p-a-%d", i%3+1)} }, j.present())
		close(j.may)
		all.Wait()
		if n := j.replays.Load(); n < 2 || n > 3 {
			t.Errorf("the journal was read %d times, once for the index", n)
		}
	})
}

func TestACancelledQuestionLeavesItsWorkToTheNext(t *testing.T) {
	j := &growing{tale: cycled(3)}
	b := NewBook("", stopping{j, 10})
	ctx, cancel := context.WithCancel(context.Background())
	_, err := Why(context.WithValue(ctx, stopKey{}, cancel), modelA, j.present(), b)
	if messages.CodeOf(err) != messages.Cancelled || b.index.seen != 10 {
		t.Fatalf("%v after %d decisions", err, b.index.seen)
	}
	if _, err := Why(t.Context(), modelA, j.present(), b); err != nil || j.replays.Load() != 1 {
		t.Errorf("%v, read %d times from the start", err, j.replays.Load())
	}
}

// stopping is a journal whose first readers leave after some decisions.
type stopping struct {
	*growing
	after uint64
}

type stopKey struct{}

func (s stopping) Replay(ctx context.Context, after, until uint64, fn func(messages.Recorded) error) error {
	err := s.growing.Replay(ctx, after, until, func(r messages.Recorded) error {
		if cancel, ok := ctx.Value(stopKey{}).(context.CancelFunc); ok && r.Sequence > s.after {
			cancel()
			return ctx.Err()
		}
		return fn(r)
	})
	if ctx.Err() != nil {
		return messages.AsError(ctx.Err())
	}
	return err
}

func TestTheIndexIsBuiltAfterTheStartAndFed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &growing{tale: cycled(2000)}
		if len(j.records) < 2*slice {
			t.Fatalf("%d decisions are less than two slices", len(j.records))
		}
		b := NewBook("", j)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go b.Run(ctx)
		seen := func() uint64 {
			synctest.Wait()
			b.turn <- struct{}{}
			defer b.leave()
			return b.index.seen
		}
		time.Sleep(startAfter - time.Second)
		b.Take(j.records[0])
		if n := seen(); n != 0 {
			t.Errorf("%d decisions were read at the start", n)
		}
		time.Sleep(time.Minute)
		if n := seen(); n != j.Sequence() {
			t.Fatalf("%d of %d decisions were read", n, j.Sequence())
		}
		next := func() messages.Recorded {
			j.tell(m("a"), &messages.ModelPinned{Owner: "ops"})
			return j.records[len(j.records)-1]
		}
		b.Take(next())
		if n := seen(); n != j.Sequence() {
			t.Errorf("what was told is not taken: %d of %d", n, j.Sequence())
		}
		missed := next()
		b.Take(next())
		b.Take(missed) // late, and read already
		time.Sleep(time.Second)
		if n := seen(); n != j.Sequence() || j.replays.Load() != 1 {
			t.Errorf("a gap stays: %d of %d, read %d times from the start", n, j.Sequence(), j.replays.Load())
		}
		cancel()
		synctest.Wait()
	})
}

// A request that memory knows is explained by what its model went through then, however much came after it; beyond the index by a search.
func TestAnOldRequestIsToldFromItsTime(t *testing.T) {
	s := cycled(1)
	last := s.now
	q := Question{Subject: "r2", ID: "r2", Model: modelA.Model, Request: &Request{ID: "r2", Asked: "a", Model: modelA.Model, Began: last.Add(-7500 * time.Millisecond), Granted: last}}
	then := plain(why(q, s.records, Present{}))
	if !strings.Contains(then, "It caused decision") || !strings.Contains(then, "It waited for decision") || strings.Count(then, "\n  #") != 8 {
		t.Fatal(then)
	}
	for name, want := range map[string]struct {
		limits
		replays int32
	}{"from the index": {defaultLimits, 1}, "by a search": {tiny, 2}} {
		j := &growing{tale: cycled(30)}
		if got := plain(Why(t.Context(), q, Present{}, newBook("", j, want.limits))); got != then || j.replays.Load() != want.replays {
			t.Errorf("%s, after %d readings:\n%s\nwant\n%s", name, j.replays.Load(), got, then)
		}
	}
}

// Which models stayed on the device isn't in a placement's decision. Explanations of old placements say it too.
func TestAnOldPlacementKeepsItsNote(t *testing.T) {
	s := newTale().devices()
	for _, name := range []string{"a", "b", "c"} {
		s.declare(name, &messages.ModelSpec{})
		s.tell(dev("sim0"), &messages.VramReserved{Lease: "p-" + name + "-0", Holder: m(name), Bytes: 1000 * mb})
	}
	for n := range uint64(10) {
		s.tell("arbiter", decided("a", n+1, "sim0", messages.Need_declared, weighed("sim0", 3000, 12000, chosen, leaves(1, out("b", 1000, 1, 1)))))
	}
	for _, l := range []limits{defaultLimits, {ids: 1000, models: 1000, notes: 2, recent: 10, chunk: 1000}} {
		got := plain(Why(t.Context(), Question{Subject: "p-a-1", ID: "p-a-1"}, s.present(), newBook("", library(s.records), l)))
		if !strings.Contains(got, "there stayed c (1000 MiB)") {
			t.Error(got)
		}
	}
}

// A model that is asked for by its name waits at the arbiter before any host, its own actor included, hears of it.
func TestAModelWaitsByItsName(t *testing.T) {
	s := waiting()
	s.tell(m("d"), &messages.ModelUnwanted{Reason: "asked to unload it"})
	postponed := &messages.PlacementPostponed{Holder: "model/*/d", Claim: messages.ByName, Reason: "gpu/main_pc/sim0 full", Candidates: []*messages.Candidate{weighed("sim0", 12000, 20000, refused("full"))}}
	s.tell("arbiter", postponed)
	d := messages.ModelActor("main_pc", "d")
	got := plain(whyModel(d, s.records, s.present()))
	for _, want := range []string{"d waits for a place since 2026-05-04T10:00:28.000Z (1m0s): gpu/main_pc/sim0 full", "it has to wait: gpu/main_pc/sim0 full", "8512 MiB more free on sim0", "unpin a"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	now := s.present()
	for awaited, want := range map[bool]string{true: "d waits for a place", false: "d is absent"} { // its requests have given up: no decision says so
		now.Awaited = func(model string) bool { return model == "d" && awaited }
		if got := plain(whyModel(d, s.records, now)); !strings.Contains(got, want) {
			t.Errorf("awaited %t: no %q in\n%s", awaited, want, got)
		}
	}
	s.tell("arbiter", &messages.PlacementPostponed{Holder: "model/*/c", Claim: messages.ByName, Reason: "full", Over: []string{"model/*/d", m("d")}})
	if got := plain(whyModel(d, s.records, s.present())); !strings.Contains(got, "d is absent") {
		t.Errorf("it waits no more:\n%s", got)
	}
}

// Lease of a model that sleeps: it holds what it was shrunk to.
func TestAResizedLease(t *testing.T) {
	s := twoLoaded()
	s.tell(dev("sim0"), &messages.VramSettled{Lease: "p-a-1", MeasuredBytes: 11000 * mb}).tell(dev("sim0"), &messages.VramResized{Lease: "p-a-1", Bytes: 500 * mb})
	got := plain(whyID("p-a-1", s.records, s.present()))
	if !strings.Contains(got, "Its lease: a holds 500 MiB") || !strings.Contains(got, "the lease holds 500 MiB from now on") {
		t.Error(got)
	}
}
