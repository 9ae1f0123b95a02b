package entity_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

// sick is a journal that fails while it is told to.
type sick struct {
	*entitytest.Journal
	appends, replays atomic.Pointer[messages.Error]
	read             atomic.Int32
}

func (j *sick) Append(ctx context.Context, a entity.Append) (uint64, error) {
	if err := j.appends.Load(); err != nil {
		return 0, err
	}
	return j.Journal.Append(ctx, a)
}

func (j *sick) Replay(ctx context.Context, id messages.ActorID, after uint64, fn func(messages.Recorded) error) error {
	j.read.Add(1)
	if err := j.replays.Load(); err != nil {
		return err
	}
	return j.Journal.Replay(ctx, id, after, fn)
}

var down = messages.NewError(messages.JournalUnavailable, "journal", "the store does not answer")

// An actor whose journal can't be read at its start waits for it, however long that takes. Its callers are told after a moment, and it goes on by
// itself. None of it counts as a crash.
func TestAnActorWaitsForItsJournal(t *testing.T) {
	kept := &entitytest.Journal{}
	play(t, options{journal: kept}, func(s *stage) { s.must(&messages.EnsureModel{Reason: "kept"}) })
	j := &sick{Journal: kept}
	j.replays.Store(down)
	play(t, options{store: j}, func(s *stage) {
		began := time.Now()
		s.refused(&messages.QueryView{}, messages.JournalUnavailable)
		if took := time.Since(began); took != time.Second {
			t.Errorf("the caller was told after %s", took)
		}
		s.wait(10 * time.Minute)
		began = time.Now()
		s.refused(&messages.UnloadModel{}, messages.JournalUnavailable)
		if took := time.Since(began); took != 0 {
			t.Errorf("a later caller was told after %s", took)
		}
		if n := j.read.Load(); n > 400 {
			t.Errorf("the journal was read %d times in ten minutes", n)
		}
		j.replays.Store(nil)
		s.wait(3 * time.Second)
		if st := s.state(); !strings.Contains(st.StateJson, `"Reason":"kept"`) || s.seen.lives() != 1 || s.crashes.Load() != 0 {
			t.Errorf("recovered %s, lives %d, crashes %d", st.StateJson, s.seen.lives(), s.crashes.Load())
		}
		if told := s.seen.told(); !slices.Equal(told, []bool{true, false}) {
			t.Errorf("the observer was told %v", told)
		}
		s.must(&messages.UnloadModel{})
	})
}

// An error that isn't typed makes the actor wait too: a store says many things when it is ill.
func TestAnyErrorOfTheJournalIsWaitedFor(t *testing.T) {
	j := &sick{Journal: &entitytest.Journal{}}
	play(t, options{store: j}, func(s *stage) {
		s.must(&messages.EnsureModel{})
		lost := messages.AsError(errors.New("input/output error"))
		j.appends.Store(lost)
		j.replays.Store(lost)
		s.refused(&messages.UnloadModel{}, messages.JournalUnavailable)
		s.wait(time.Hour)
		j.appends.Store(nil)
		j.replays.Store(nil)
		s.wait(3 * time.Second)
		s.must(&messages.UnloadModel{})
		if s.crashes.Load() != 0 {
			t.Errorf("%d crashes", s.crashes.Load())
		}
	})
}

// Commands that come while the journal is read again are held for a moment and then taken, in their order.
func TestCommandsAreHeldForAMoment(t *testing.T) {
	j := &sick{Journal: &entitytest.Journal{}}
	play(t, options{store: j}, func(s *stage) {
		s.must(&messages.EnsureModel{Reason: "before"})
		j.appends.Store(down)
		j.replays.Store(down)
		s.refused(&messages.UnloadModel{}, messages.JournalUnavailable)
		first := s.system.Root.RequestFuture(s.pid, entity.Envelope{Command: &messages.UnloadModel{}}, time.Minute)
		second := s.system.Root.RequestFuture(s.pid, entity.Envelope{Command: &messages.EnsureModel{Reason: "after"}}, time.Minute)
		j.appends.Store(nil)
		j.replays.Store(nil)
		for _, f := range []*actor.Future{first, second} {
			if r, err := f.Result(); err != nil || r.(entity.Result).Err != nil {
				t.Errorf("%v %v", r, err)
			}
		}
		if st := s.state(); !strings.Contains(st.StateJson, `"Reason":"after"`) || st.Sequence != 3 {
			t.Errorf("%s at %d", st.StateJson, st.Sequence)
		}
		if len(s.seen.told()) != 0 {
			t.Error("the observer was told of a moment")
		}
	})
}

// Appends that fail while the journal can be read: the work that the state owes isn't begun in a loop, and the actor goes on afterwards.
func TestFailingAppendsDontSpin(t *testing.T) {
	j := &sick{Journal: &entitytest.Journal{}}
	var tries atomic.Int32
	act := func(context.Context, entity.Effect) (proto.Message, error) {
		tries.Add(1)
		return &messages.RetryLoad{Attempt: 1}, nil
	}
	play(t, options{store: j, perform: act}, func(s *stage) {
		var began, calm atomic.Bool
		j.Fail = func(entity.Append) error {
			if began.Swap(true) && !calm.Load() {
				return down
			}
			return nil
		}
		s.must(&messages.EnsureModel{})
		s.wait(2 * time.Minute)
		if n := tries.Load(); n > 100 {
			t.Errorf("the work was begun %d times in two minutes", n)
		}
		calm.Store(true)
		s.wait(3 * time.Second)
		if st := s.state(); len(st.Owed) != 0 || s.crashes.Load() != 0 {
			t.Errorf("owed %v, %d crashes", st.Owed, s.crashes.Load())
		}
	})
}

// An append of which nothing was stored leaves the actor's running work alone.
func TestARefusedAppendCancelsNoWork(t *testing.T) {
	j := &sick{Journal: &entitytest.Journal{}}
	var cancelled atomic.Bool
	act := func(ctx context.Context, _ entity.Effect) (proto.Message, error) {
		<-ctx.Done()
		cancelled.Store(true)
		return nil, ctx.Err()
	}
	play(t, options{store: j, perform: act}, func(s *stage) {
		s.must(&messages.EnsureModel{})
		j.appends.Store(down.WithCause(messages.ErrNotStored))
		for range 20 {
			s.refused(&messages.UnloadModel{}, messages.JournalUnavailable)
		}
		if cancelled.Load() || s.seen.lives() != 1 {
			t.Errorf("cancelled %t, lives %d", cancelled.Load(), s.seen.lives())
		}
		j.appends.Store(nil)
		s.must(&messages.UnloadModel{})
	})
}

// A panic of Evolve while the journal is read again is a crash, as everywhere.
func TestAPanicWhileReadingAgainIsACrash(t *testing.T) {
	j := &sick{Journal: &entitytest.Journal{}}
	kind := toyKind(idle)
	var spoiled atomic.Bool
	evolve := kind.Evolve
	kind.Evolve = func(s toy, e proto.Message, n uint64) toy {
		if spoiled.Load() {
			panic("a bug in Evolve")
		}
		return evolve(s, e, n)
	}
	playKind(t, kind, options{store: j}, func(s *stage) {
		s.must(&messages.EnsureModel{})
		j.appends.Store(down)
		spoiled.Store(true)
		s.refused(&messages.UnloadModel{}, messages.JournalUnavailable)
		s.wait(100 * time.Millisecond)
		spoiled.Store(false)
		j.appends.Store(nil)
		s.wait(3 * time.Second)
		if s.crashes.Load() != 1 {
			t.Errorf("%d crashes", s.crashes.Load())
		}
		s.must(&messages.UnloadModel{})
	})
}

// Commands that an actor holds when it stops are answered.
func TestHeldCommandsAreAnsweredAtTheStop(t *testing.T) {
	j := &sick{Journal: &entitytest.Journal{}}
	play(t, options{store: j}, func(s *stage) {
		j.appends.Store(down)
		j.replays.Store(down)
		s.refused(&messages.EnsureModel{}, messages.JournalUnavailable)
		f := s.system.Root.RequestFuture(s.pid, entity.Envelope{Command: &messages.UnloadModel{}}, time.Minute)
		synctest.Wait() // the command is held
		s.system.Root.Stop(s.pid)
		began := time.Now()
		if r, err := f.Result(); err != nil || r.(entity.Result).Err == nil || time.Since(began) != 0 {
			t.Errorf("after %s: %v %v", time.Since(began), r, err)
		}
	})
}
