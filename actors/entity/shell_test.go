package entity_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

// No effect begins and no answer is sent before the decision is in the journal.
func TestAppendBeforeAct(t *testing.T) {
	var order []string
	j := &entitytest.Journal{Fail: func(a entity.Append) error {
		order = append(order, "append "+messages.EventName(a.Events[0]))
		return nil
	}}
	act := func(_ context.Context, e entity.Effect) (proto.Message, error) {
		order = append(order, e.Key())
		if n := len(j.Of(toyID)); n != 1 {
			t.Errorf("the work began with %d decisions in the journal", n)
		}
		return &messages.RetryLoad{Attempt: 1}, nil
	}
	play(t, options{journal: j, perform: act}, func(s *stage) {
		r := s.must(&messages.EnsureModel{Reason: "test"})
		if r.Sequence != 1 || len(r.Events) != 1 {
			t.Errorf("answered with %+v", r)
		}
		if want := []string{"append model.wanted", "work/1", "append model.drained"}; !slices.Equal(order, want) {
			t.Errorf("happened %v, want %v", order, want)
		}
		if want := []string{"0:0:false", "1:1:true", "2:1:false"}; !slices.Equal(s.seen.changes, want) {
			t.Errorf("seen %v, want %v", s.seen.changes, want)
		}
	})
}

// A decision that follows from another names it in the journal's headers.
func TestWorkIsCausedByItsDecision(t *testing.T) {
	act := func(ctx context.Context, _ entity.Effect) (proto.Message, error) {
		if m := messages.MetaFrom(ctx); m.Causation != "id-1" {
			t.Errorf("the work knows only %+v", m)
		}
		return &messages.RetryLoad{Attempt: 1}, nil
	}
	play(t, options{perform: act}, func(s *stage) {
		s.must(&messages.EnsureModel{})
		d := s.journal.Of(toyID)
		if d[0].Meta.ID != "id-1" || d[0].Meta.Correlation != "id-1" || d[1].Meta.Causation != "id-1" || d[1].Meta.Correlation != "id-1" {
			t.Errorf("the journal says %+v and %+v", d[0].Meta, d[1].Meta)
		}
	})
}

func TestRefusalsAndUnknownCommands(t *testing.T) {
	play(t, options{}, func(s *stage) {
		s.refused(&messages.StopHost{}, messages.FailedPrecondition)
		s.refused(&messages.ReserveVram{}, messages.InvalidArgument)
		s.refused(&messages.RestartActor{}, messages.Conflict)
		if s.appended() != 0 || s.seen.lives() != 1 {
			t.Errorf("a refusal left %d decisions, %d lives", s.appended(), s.seen.lives())
		}
	})
}

// Each way in which an append may fail, with the error that the caller gets, the state, and whether the incarnation ends.
func TestJournalFailures(t *testing.T) {
	for _, c := range []struct {
		name    string
		failure *messages.Error
		want    messages.Code
		lives   int
	}{
		{"full: refused, the state stays", messages.NewError(messages.JournalFull, "journal", "12 MiB are left").WithCause(messages.ErrNotStored), messages.JournalFull, 1},
		{"out of reach: refused, the state stays", messages.NewError(messages.JournalUnavailable, "journal", "restarting").WithCause(messages.ErrNotStored), messages.JournalUnavailable, 1},
		{"unknown outcome: rebuilt", messages.NewError(messages.JournalUnavailable, "journal", "no acknowledgement"), messages.JournalUnavailable, 2},
		{"full in the middle of it: rebuilt", messages.NewError(messages.JournalFull, "journal", "0 MiB are left"), messages.JournalFull, 2},
		{"late: rebuilt", messages.NewError(messages.DeadlineExceeded, "", "the deadline passed"), messages.JournalUnavailable, 2},
		{"another writer: rebuilt", messages.NewError(messages.Conflict, "journal", "expected 0, last is 7"), messages.JournalUnavailable, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			broken := false
			j := &entitytest.Journal{Fail: func(entity.Append) error {
				if broken {
					return c.failure
				}
				return nil
			}}
			play(t, options{journal: j}, func(s *stage) {
				s.must(&messages.EnsureModel{Reason: "before"})
				before := s.state()
				broken = true
				s.refused(&messages.UnloadModel{}, c.want)
				broken = false
				after := s.state() // waits out the restart
				if s.seen.lives() != c.lives {
					t.Errorf("%d lives, want %d", s.seen.lives(), c.lives)
				}
				if !proto.Equal(before, after) {
					t.Errorf("the state was\n%v\nand is\n%v", before, after)
				}
				s.must(&messages.UnloadModel{})
			})
		})
	}
}

// A decision that was stored but not acknowledged is part of the state after the rebuild.
func TestLostAcknowledgement(t *testing.T) {
	var j *entitytest.Journal
	lose := true
	j = &entitytest.Journal{Fail: func(a entity.Append) error {
		if !lose {
			return nil
		}
		lose = false
		if _, err := j.Append(t.Context(), a); err != nil {
			t.Error(err)
		}
		return messages.NewError(messages.JournalUnavailable, "journal", "no acknowledgement")
	}}
	play(t, options{journal: j}, func(s *stage) {
		s.refused(&messages.EnsureModel{Reason: "lost"}, messages.JournalUnavailable)
		st := s.state()
		if st.Sequence != 1 || !strings.Contains(st.StateJson, `"Reason":"lost"`) || !slices.Equal(st.Owed, []string{"work/1"}) {
			t.Errorf("after the rebuild: %v", st)
		}
		s.must(&messages.UnloadModel{})
	})
}

// A panic in Decide ends the incarnation, and its caller is answered at once.
func TestPanicInDecide(t *testing.T) {
	play(t, options{}, func(s *stage) {
		s.must(&messages.EnsureModel{})
		began := time.Now()
		s.refused(&messages.StartHost{}, messages.Unavailable)
		if took := time.Since(began); took != 0 {
			t.Errorf("the caller waited %s for the answer", took)
		}
		if st := s.state(); st.Sequence != 1 || s.seen.lives() != 2 {
			t.Errorf("after the restart: %v, lives %d", st, s.seen.lives())
		}
		s.refused(&messages.Crash{Reason: "drill"}, messages.Unavailable)
		s.must(&messages.UnloadModel{})
		if s.seen.lives() != 3 || s.seen.recovered[2] != 1 {
			t.Errorf("lives %v", s.seen.recovered)
		}
	})
}

// A told command has no sender: nothing is answered, and a crash on it affects no other command.
func TestTold(t *testing.T) {
	play(t, options{}, func(s *stage) {
		for _, c := range []proto.Message{&messages.EnsureModel{}, &messages.StopHost{}, &messages.StartHost{}} {
			s.system.Root.Send(s.pid, entity.Envelope{Command: c})
		}
		s.wait(time.Minute)
		if s.appended() != 1 || s.seen.lives() != 2 {
			t.Errorf("%d decisions, %d lives", s.appended(), s.seen.lives())
		}
	})
}

func TestSnapshots(t *testing.T) {
	j := &entitytest.Journal{}
	last := func() (s entity.Snapshot) { s, _, _ = j.LoadSnapshot(t.Context(), toyID); return s }
	var live *messages.StateReply
	play(t, options{journal: j, snapshotEvery: 3}, func(s *stage) {
		for range 7 {
			s.must(&messages.EnsureModel{Reason: "again"})
		}
		live = s.state()
	})
	if snap := last(); snap.Sequence != 6 || snap.Fingerprint != entity.Fingerprint[toy]() || snap.Fold != toyFold {
		t.Fatalf("the snapshot is of %d with %s", snap.Sequence, snap.Fingerprint)
	}
	again := func(name string, decisions int) {
		t.Helper()
		play(t, options{journal: j}, func(s *stage) {
			if st := s.state(); !proto.Equal(st, live) || s.seen.recovered[0] != decisions {
				t.Errorf("%s: read %d decisions, want %d; state\n%v\nwant\n%v", name, s.seen.recovered[0], decisions, st, live)
			}
		})
	}
	again("used", 1)
	spoil := func(change func(*entity.Snapshot)) {
		snap := last()
		change(&snap)
		_ = j.SaveSnapshot(t.Context(), snap)
	}
	good := last()
	spoil(func(s *entity.Snapshot) { s.Fingerprint = "of another schema"; s.State = []byte(`{"Attempt":99}`) })
	again("of another schema", 7)
	spoil(func(s *entity.Snapshot) { s.Fingerprint, s.Fold = good.Fingerprint, good.Fold+1 })
	again("of another fold", 7)
	spoil(func(s *entity.Snapshot) { s.Fold, s.State = good.Fold, []byte(`{"Attempt":`) })
	again("broken", 7)
	fresh := &entitytest.Journal{}
	for _, r := range j.Of(toyID) {
		if _, err := fresh.Append(t.Context(), entity.Append{Actor: toyID, Expected: r.Expected, Events: r.Events, Meta: r.Meta, At: r.At}); err != nil {
			t.Fatal(err)
		}
	}
	j = fresh
	again("deleted", 7)
}

func TestFingerprintSeesTheSchema(t *testing.T) {
	type inner struct{ A int }
	type renamed struct{ B int }
	type tagged struct {
		A int `json:"a"`
	}
	type private struct {
		A int
		b int //nolint:unused // a field that isn't in the JSON doesn't change snapshots
	}
	type outer struct{ In map[string][]*inner }
	type outerOther struct{ In map[string][]*renamed }
	same := []string{entity.Fingerprint[inner](), entity.Fingerprint[private]()}
	if same[0] != same[1] {
		t.Error("a field that JSON doesn't see changed the fingerprint")
	}
	seen := map[string]string{}
	for name, f := range map[string]string{"inner": same[0], "renamed": entity.Fingerprint[renamed](), "tagged": entity.Fingerprint[tagged](),
		"outer": entity.Fingerprint[outer](), "outerOther": entity.Fingerprint[outerOther](), "string": entity.Fingerprint[string]()} {
		if other := seen[f]; other != "" {
			t.Errorf("%s and %s have one fingerprint", name, other)
		}
		seen[f] = name
	}
}
