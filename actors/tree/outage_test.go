package tree

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"modelops/actors/entity"
	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

// flaky is a journal that can be told to fail.
type flaky struct {
	*entitytest.Journal
	ill atomic.Pointer[messages.Error]
}

func (f *flaky) Append(ctx context.Context, a entity.Append) (uint64, error) {
	if ill := f.ill.Load(); ill != nil {
		return 0, ill
	}
	return f.Journal.Append(ctx, a)
}

func (f *flaky) Replay(ctx context.Context, id messages.ActorID, after uint64, fn func(messages.Recorded) error) error {
	if ill := f.ill.Load(); ill != nil && ill.Subject == "reads too" {
		return ill
	}
	return f.Journal.Replay(ctx, id, after, fn)
}

// A refusal with the code of a failed append is a refusal: however often it is given, the actor lives on in the same incarnation.
func TestARefusalIsNoCrash(t *testing.T) {
	grown(t, func(t *testing.T, g *grove) {
		g.register(t)
		if _, err := g.Ask(t.Context(), gpuID, &messages.ReserveVram{Lease: "l", Holder: "model/main_pc/a", Bytes: 1}); err != nil {
			t.Fatal(err)
		}
		for range 50 {
			if _, err := g.Ask(t.Context(), gpuID, &messages.ReserveVram{Lease: "l", Holder: "model/main_pc/b", Bytes: 1}); messages.CodeOf(err) != messages.Conflict {
				t.Fatalf("%v", err)
			}
		}
		if _, err := g.Ask(t.Context(), gpuID, &messages.QueryView{}); err != nil || len(g.restarts) != 0 {
			t.Errorf("%v; %d restarts", err, len(g.restarts))
		}
	})
}

// While the journal can't be reached, callers are told so within their deadline. Whatever the outage is and however long it lasts, every actor
// lives afterwards, and none of it counts as a crash.
func TestAnOutageOfTheJournalLeavesEveryActorAlive(t *testing.T) {
	for _, c := range []struct {
		name string
		ill  *messages.Error
	}{
		{"appends end with an unknown outcome", messages.NewError(messages.JournalUnavailable, "", "no acknowledgement")},
		{"nothing can be read or written", messages.NewError(messages.JournalUnavailable, "reads too", "the server is down")},
		{"the disk is full", messages.NewError(messages.JournalFull, "", "no space is left").WithCause(messages.ErrNotStored)},
		{"the disk is full in the middle of an append", messages.NewError(messages.JournalFull, "reads too", "no space is left")},
		{"another writer is always first", messages.NewError(messages.Conflict, "", "its last decision is another one")},
		{"the journal is damaged", messages.NewError(messages.JournalDamaged, "reads too", "sequence 7 can't be read")},
	} {
		t.Run(c.name, func(t *testing.T) {
			grown(t, func(t *testing.T, g *grove) {
				for _, id := range []messages.ActorID{hostID, gpuID} {
					if err := g.Spawn(id); err != nil {
						t.Fatal(err)
					}
				}
				g.register(t)
				g.flaky.ill.Store(c.ill)
				for began, i := time.Now(), 0; time.Since(began) < 10*time.Minute; i++ {
					// A caller that isn't answered within AskTimeout is told UNAVAILABLE.
					_, err := g.Ask(t.Context(), gpuID, &messages.ReserveVram{Lease: fmt.Sprint(i), Holder: "model/main_pc/a", Bytes: 1})
					_, hosts := g.Ask(t.Context(), hostID, &messages.StartHost{BootId: fmt.Sprint(i)})
					for _, err := range []error{err, hosts} {
						switch messages.CodeOf(err) {
						case messages.JournalUnavailable, messages.JournalFull, messages.JournalDamaged:
						default:
							t.Fatalf("%d: %v", i, err)
						}
					}
					time.Sleep(time.Second)
				}
				if c.ill.Subject == "reads too" && (len(g.Ill()) != 2 || !strings.Contains(g.Ill()[0], c.ill.Message)) {
					t.Errorf("ill: %v", g.Ill())
				}
				g.flaky.ill.Store(nil)
				time.Sleep(3 * time.Second)
				if _, err := g.Ask(t.Context(), gpuID, &messages.ReserveVram{Lease: "later", Holder: "model/main_pc/a", Bytes: 1}); err != nil {
					t.Errorf("the ledger afterwards: %v", err)
				}
				if _, err := g.Ask(t.Context(), hostID, &messages.StartHost{BootId: "later"}); err != nil {
					t.Errorf("the host afterwards: %v", err)
				}
				if len(g.restarts) != 0 || len(g.Ill()) != 0 {
					t.Errorf("%d restarts, ill %v", len(g.restarts), g.Ill())
				}
			})
		})
	}
}

// The failures that count are those of the last minute: an actor that crashes every ten seconds comes back each time.
func TestTheWindowOfFailuresSlides(t *testing.T) {
	grown(t, func(t *testing.T, g *grove) {
		g.register(t)
		for i := range 100 {
			_, _ = g.Ask(t.Context(), gpuID, &messages.Crash{})
			time.Sleep(10 * time.Second)
			if _, err := g.Ask(t.Context(), gpuID, &messages.QueryView{}); err != nil {
				t.Fatalf("after crash %d: %v", i, err)
			}
		}
	})
}

// Who gave up is told by Ill, with the command that brings it back, until it is back.
func TestIllTellsWhoGaveUp(t *testing.T) {
	grown(t, func(t *testing.T, g *grove) {
		g.register(t)
		for range 9 {
			_, _ = g.Ask(t.Context(), gpuID, &messages.Crash{Reason: "drill"})
		}
		time.Sleep(7 * time.Second)
		synctest.Wait()
		if ill := g.Ill(); len(ill) != 1 || !strings.Contains(ill[0], "drill") || !strings.Contains(ill[0], "RestartActor") {
			t.Errorf("ill: %v", ill)
		}
		if _, err := g.Ask(t.Context(), hostID, &messages.RestartActor{Actor: gpuID.String()}); err != nil {
			t.Fatal(err)
		}
		if ill := g.Ill(); len(ill) != 0 {
			t.Errorf("ill: %v", ill)
		}
	})
}

// An actor that gave up while the host couldn't record it is recorded later, and can be brought back then.
func TestAGiveUpIsRecordedAfterAnOutage(t *testing.T) {
	grown(t, func(t *testing.T, g *grove) {
		g.register(t)
		g.flaky.ill.Store(messages.NewError(messages.JournalUnavailable, "", "no acknowledgement"))
		for range 9 {
			_, _ = g.Ask(t.Context(), gpuID, &messages.Crash{Reason: "drill"})
		}
		time.Sleep(time.Minute)
		if len(g.Ill()) == 0 || len(g.journal.Of(hostID)) != 0 {
			t.Errorf("ill %v, recorded %v", g.Ill(), g.journal.Of(hostID))
		}
		g.flaky.ill.Store(nil)
		time.Sleep(10 * time.Second)
		if _, err := g.Ask(t.Context(), hostID, &messages.RestartActor{Actor: gpuID.String()}); err != nil {
			t.Fatal(err)
		}
		if _, err := g.Ask(t.Context(), gpuID, &messages.QueryView{}); err != nil || len(g.Ill()) != 0 {
			t.Errorf("%v; ill %v", err, g.Ill())
		}
	})
}
