package entity_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// tries notes when owed work was begun.
type tries struct {
	at   []time.Duration
	keys []string
	zero time.Time
}

func (n *tries) note(e entity.Effect) {
	if n.zero.IsZero() {
		n.zero = time.Now()
	}
	n.at, n.keys = append(n.at, time.Since(n.zero)), append(n.keys, e.Key())
}

func seconds(ss ...float64) (out []time.Duration) {
	for _, s := range ss {
		out = append(out, time.Duration(s*float64(time.Second)))
	}
	return out
}

// Work whose tries fail stays owed and is tried again after pauses that double up to a longest one.
func TestBackoffGrows(t *testing.T) {
	for _, c := range []struct {
		reason string
		within time.Duration
		want   []time.Duration
	}{
		{"default", 100 * time.Second, seconds(0, .1, .3, .7, 1.5, 3.1, 6.3, 12.7, 25.5, 51.1, 81.1)},
		{"paced", 20 * time.Millisecond, seconds(0, .001, .003, .007, .011, .015, .019)},
		{"delayed", 3 * time.Second, seconds(0, .1, .3, .7)}, // from its first try on
	} {
		t.Run(c.reason, func(t *testing.T) {
			var n tries
			act := func(_ context.Context, e entity.Effect) (proto.Message, error) { n.note(e); return nil, errTry }
			play(t, options{perform: act}, func(s *stage) {
				s.must(&messages.EnsureModel{Reason: c.reason})
				s.wait(c.within)
				if !slices.Equal(n.at, c.want) {
					t.Errorf("tried at %v, want %v", n.at, c.want)
				}
				if !strings.Contains(s.log.String(), "owed work failed; it stays owed") {
					t.Error("the failures weren't logged")
				}
			})
		})
	}
}

// Work that waits for the journal is tried after pauses that grow, also when it is tried often otherwise, and the log has one line for each reason in
// a row. Once the journal is back the pauses are the usual ones.
func TestWorkWaitsForTheJournalInSilence(t *testing.T) {
	var n tries
	full := 0
	act := func(_ context.Context, e entity.Effect) (proto.Message, error) {
		n.note(e)
		switch full++; {
		case full <= 9:
			return nil, messages.Errorf(messages.JournalFull, "journal", "the disk has %d KiB left", full)
		case full == 10:
			return nil, nil
		}
		return nil, errTry
	}
	play(t, options{perform: act}, func(s *stage) {
		s.must(&messages.EnsureModel{Reason: "paced"})
		s.wait(21300*time.Millisecond + 12*time.Millisecond)
		if want := seconds(0, .1, .3, .7, 1.5, 3.1, 6.3, 11.3, 16.3, 21.3, 21.304, 21.308, 21.312); !slices.Equal(n.at, want) {
			t.Errorf("tried at %v, want %v", n.at, want)
		}
		if got := s.log.String(); strings.Count(got, "owed work failed") != 2 || strings.Count(got, "1 KiB left") != 1 {
			t.Errorf("logged:\n%s", got)
		}
	})
}

// The first try of delayed work begins when its delay is over, and never when the work is no longer owed by then. The delay restarts with a
// new incarnation.
func TestADelayComesBeforeTheFirstTry(t *testing.T) {
	var n atomic.Int64
	act := func(context.Context, entity.Effect) (proto.Message, error) { n.Add(1); return nil, nil }
	play(t, options{perform: act}, func(s *stage) {
		s.must(&messages.EnsureModel{Reason: "delayed"})
		s.wait(1900 * time.Millisecond)
		s.must(&messages.EnsureModel{Reason: "delayed, another attempt"})
		s.wait(1900 * time.Millisecond)
		if n := n.Load(); n != 0 {
			t.Errorf("%d tries before the delay is over", n)
		}
		_, _ = s.ask(&messages.Crash{})
		s.wait(1900 * time.Millisecond)
		if n := n.Load(); n != 0 {
			t.Errorf("%d tries before the delay of the new incarnation is over", n)
		}
		s.wait(2 * time.Second)
		if n.Load() == 0 {
			t.Error("no try after the delay")
		}
		s.must(&messages.UnloadModel{})
		n.Store(0)
		s.must(&messages.EnsureModel{Reason: "delayed"})
		s.must(&messages.UnloadModel{})
		s.wait(time.Minute)
		if n := n.Load(); n != 0 {
			t.Errorf("%d tries, although the work is no longer owed", n)
		}
	})
}

// Work that reports nothing, or whose report changes nothing, is tried again too.
func TestNothingReportedIsStillOwed(t *testing.T) {
	for name, report := range map[string]proto.Message{"nothing": nil, "a stale report": &messages.RetryLoad{Attempt: 99}, "a refused report": &messages.StopHost{}} {
		t.Run(name, func(t *testing.T) {
			var n tries
			act := func(_ context.Context, e entity.Effect) (proto.Message, error) {
				if n.note(e); len(n.at) == 3 {
					return &messages.RetryLoad{Attempt: 1}, nil
				}
				return report, nil
			}
			play(t, options{perform: act}, func(s *stage) {
				s.must(&messages.EnsureModel{})
				s.wait(time.Minute)
				if want := seconds(0, .1, .3); !slices.Equal(n.at, want) || s.state().Owed != nil {
					t.Errorf("tried at %v, want %v; owed %v", n.at, want, s.state().Owed)
				}
			})
		})
	}
}

// A report that finds the journal full is lost; the work is done again and reports again.
func TestReportIntoAFullJournal(t *testing.T) {
	var full atomic.Bool
	var n tries
	act := func(_ context.Context, e entity.Effect) (proto.Message, error) {
		n.note(e)
		return &messages.RetryLoad{Attempt: 1}, nil
	}
	o := options{perform: act, journal: newJournal(func(a entity.Append) error {
		if full.Load() && messages.EventName(a.Events[0]) == "model.drained" {
			return messages.NewError(messages.JournalFull, "journal", "full").WithCause(messages.ErrNotStored)
		}
		return nil
	})}
	play(t, o, func(s *stage) {
		full.Store(true)
		s.must(&messages.EnsureModel{})
		s.wait(time.Second)
		full.Store(false)
		s.wait(time.Minute)
		if st := s.state(); st.Owed != nil || s.seen.lives() != 1 || len(n.at) < 3 {
			t.Errorf("owed %v, lives %d, tries %d", st.Owed, s.seen.lives(), len(n.at))
		}
	})
}

// No supervisor sees a panic outside the mailbox: it counts as a failed try only.
func TestPanicInPerform(t *testing.T) {
	var n tries
	act := func(_ context.Context, e entity.Effect) (proto.Message, error) {
		if n.note(e); len(n.at) == 1 {
			panic("a bug in perform")
		}
		return &messages.RetryLoad{Attempt: 1}, nil
	}
	play(t, options{perform: act}, func(s *stage) {
		s.must(&messages.EnsureModel{})
		s.wait(time.Second)
		if s.seen.lives() != 1 || len(n.at) != 2 || s.state().Owed != nil {
			t.Errorf("lives %d, tries %v, owed %v", s.seen.lives(), n.at, s.state().Owed)
		}
		if !strings.Contains(s.log.String(), "panic in work/1: a bug in perform") {
			t.Errorf("the log says %s", s.log)
		}
	})
}

// Work that is no longer owed is cancelled, and a late report of it is dropped.
func TestWorkIsCancelledWhenNoLongerOwed(t *testing.T) {
	var cancelled []string
	act := func(ctx context.Context, e entity.Effect) (proto.Message, error) {
		<-ctx.Done()
		cancelled = append(cancelled, e.Key())
		return &messages.EnsureModel{Reason: "a late answer that must not be believed"}, nil
	}
	play(t, options{perform: act}, func(s *stage) {
		s.must(&messages.EnsureModel{})
		s.must(&messages.EnsureModel{}) // another attempt
		if want := []string{"work/1"}; !slices.Equal(cancelled, want) || !slices.Equal(s.state().Owed, []string{"work/2"}) {
			t.Errorf("cancelled %v; owed %v", cancelled, s.state().Owed)
		}
		s.must(&messages.UnloadModel{})
		if want := []string{"work/1", "work/2"}; !slices.Equal(cancelled, want) {
			t.Errorf("cancelled %v", cancelled)
		}
		if s.wait(time.Minute); s.appended() != 3 {
			t.Errorf("%d decisions: a late answer was believed", s.appended())
		}
	})
}

// The end of a pause starts nothing when the work is no longer owed.
func TestWaitingWorkIsForgotten(t *testing.T) {
	var n tries
	act := func(_ context.Context, e entity.Effect) (proto.Message, error) { n.note(e); return nil, errTry }
	play(t, options{perform: act}, func(s *stage) {
		s.must(&messages.EnsureModel{})
		s.wait(10 * time.Second)
		before := len(n.at)
		s.must(&messages.UnloadModel{})
		if s.wait(time.Hour); len(n.at) != before {
			t.Errorf("%d tries after it was no longer owed", len(n.at)-before)
		}
	})
}

// The next try does what is owed at that time, not what was owed when the work began.
func TestNextTryDoesWhatIsOwedNow(t *testing.T) {
	var reasons []string
	act := func(_ context.Context, e entity.Effect) (proto.Message, error) {
		reasons = append(reasons, e.(task).Reason)
		return nil, errTry
	}
	play(t, options{perform: act}, func(s *stage) {
		s.must(&messages.EnsureModel{Reason: "old"})
		s.must(&messages.ReportBreaker{State: messages.ModelView_open})
		s.wait(100 * time.Millisecond)
		if want := []string{"old", "open"}; !slices.Equal(reasons, want) {
			t.Errorf("done for %v, want %v", reasons, want)
		}
	})
}

// Owed work begins again with the next incarnation; late reports of the former one are dropped.
func TestRestartBeginsOwedWorkAgain(t *testing.T) {
	var n tries
	var stubborn chan struct{} // of the bubble
	act := func(ctx context.Context, e entity.Effect) (proto.Message, error) {
		n.note(e)
		if len(n.at) == 1 { // ignores its cancellation
			<-stubborn
			return &messages.RetryLoad{Attempt: 1}, nil
		}
		return idle(ctx, e)
	}
	play(t, options{perform: act}, func(s *stage) {
		stubborn = make(chan struct{})
		s.must(&messages.EnsureModel{})
		s.refused(&messages.Crash{}, messages.Unavailable)
		s.wait(2 * time.Second)
		close(stubborn)
		if want := []string{"work/1", "work/1"}; !slices.Equal(n.keys, want) {
			t.Errorf("begun %v, want %v", n.keys, want)
		}
		if s.wait(time.Second); s.appended() != 1 || !slices.Equal(s.state().Owed, []string{"work/1"}) {
			t.Errorf("the former incarnation's answer was believed: %d decisions, owed %v", s.appended(), s.state().Owed)
		}
	})
}

// A conflict while a report is stored ends the incarnation, as with a command.
func TestConflictOnReport(t *testing.T) {
	conflicts := 1
	act := func(_ context.Context, e entity.Effect) (proto.Message, error) {
		return &messages.RetryLoad{Attempt: 1}, nil
	}
	o := options{perform: act, journal: newJournal(func(a entity.Append) error {
		if messages.EventName(a.Events[0]) == "model.drained" && conflicts > 0 {
			conflicts--
			return messages.NewError(messages.Conflict, "journal", "another writer")
		}
		return nil
	})}
	play(t, o, func(s *stage) {
		s.must(&messages.EnsureModel{})
		if s.wait(10 * time.Second); s.seen.lives() != 2 || s.state().Owed != nil {
			t.Errorf("lives %d, owed %v", s.seen.lives(), s.state().Owed)
		}
	})
}
