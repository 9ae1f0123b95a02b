package tree

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/actors/entity/entitytest"
	"modelops/actors/gpu"
	"modelops/actors/host"
	"modelops/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	hostID = messages.HostActor("main_pc")
	gpuID  = messages.GPUActor("main_pc", "cpu")
)

// grove is a tree with a host and ledgers on one journal.
type grove struct {
	*Tree
	journal  *entitytest.Journal
	flaky    *flaky // the journal as the actors see it
	born     atomic.Int32
	mu       sync.Mutex
	restarts []time.Duration
	began    time.Time
}

func (g *grove) StateChanged(_ messages.ActorID, _ uint64, view proto.Message) {
	if v, ok := view.(*messages.HostView); ok {
		g.Down(v.GaveUp)
	}
}
func (g *grove) Recovered(messages.ActorID, int, time.Duration) {}

// grown tells a story in virtual time. The ledger "silent" never answers.
func grown(t *testing.T, story func(*testing.T, *grove)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := &grove{journal: &entitytest.Journal{}, began: time.Now()}
		g.flaky = &flaky{Journal: g.journal}
		log := slog.New(slog.NewTextHandler(io.Discard, nil))
		g.Tree = New(Options{Host: "main_pc", Log: log,
			OnRestart: func(string) {
				g.mu.Lock()
				defer g.mu.Unlock()
				g.restarts = append(g.restarts, time.Since(g.began))
			}})
		var n atomic.Int32
		o := entity.Options{Journal: g.flaky, Clock: entitytest.Clock{}, Observer: g, Log: log, NewID: func() string {
			return time.Now().String() + string(rune('a'+n.Add(1)%26))
		}}
		g.Grow(func(id messages.ActorID) (*actor.Props, bool) {
			g.born.Add(1)
			switch {
			case id == hostID:
				return entity.Props(host.Kind(host.World{}), id, o), true
			case id.Kind == messages.KindGPU && id.Name() == "silent":
				return actor.PropsFromFunc(func(actor.Context) {}), true
			case id.Kind == messages.KindGPU:
				return entity.Props(gpu.Kind(nil, time.Now), id, o), true
			}
			return nil, false
		})
		story(t, g)
		g.Stop()
		time.Sleep(time.Minute) // the library counts dead letters on a ticker of its own
	})
}

func (g *grove) register(t *testing.T) {
	t.Helper()
	if _, err := g.Ask(t.Context(), gpuID, &messages.RegisterDevice{Kind: "cpu", CapacityBytes: 1 << 30}); err != nil {
		t.Fatal(err)
	}
}

func TestUnknownActor(t *testing.T) {
	grown(t, func(t *testing.T, g *grove) {
		_, err := g.Ask(t.Context(), messages.ModelActor("main_pc", "x"), &messages.QueryView{})
		if messages.CodeOf(err) != messages.NotFound {
			t.Errorf("%v", err)
		}
		g.Tell(t.Context(), messages.ModelActor("main_pc", "x"), &messages.EnsureModel{})
	})
}

// An actor whose name no journal takes isn't made.
func TestAnActorWithALongName(t *testing.T) {
	grown(t, func(t *testing.T, g *grove) {
		for n, want := range map[int]messages.Code{256: 0, 10000: messages.InvalidArgument} {
			born := g.born.Load()
			_, err := g.Ask(t.Context(), messages.GPUActor("main_pc", strings.Repeat("x", n)), &messages.QueryView{})
			if messages.CodeOf(err) != want || (g.born.Load() > born) != (want == 0) {
				t.Errorf("%d bytes: %v, %d made", n, err, g.born.Load()-born)
			}
		}
	})
}

func TestAskTimesOut(t *testing.T) {
	grown(t, func(t *testing.T, g *grove) {
		silent, began := messages.GPUActor("main_pc", "silent"), time.Now()
		if _, err := g.Ask(t.Context(), silent, &messages.QueryView{}); messages.CodeOf(err) != messages.Unavailable || time.Since(began) != 5*time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		past, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		defer cancel()
		if _, err := g.Ask(past, silent, &messages.QueryView{}); messages.CodeOf(err) != messages.DeadlineExceeded {
			t.Errorf("%v", err)
		}
	})
}

// A caller that leaves isn't held up by an actor that doesn't answer.
func TestAskEndsWithItsCaller(t *testing.T) {
	grown(t, func(t *testing.T, g *grove) {
		ctx, leave := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, leave)
		began := time.Now()
		_, err := g.Ask(ctx, messages.GPUActor("main_pc", "silent"), &messages.QueryView{})
		if took := time.Since(began); messages.CodeOf(err) != messages.Cancelled || took != time.Second {
			t.Errorf("after %s: %v", took, err)
		}
	})
}

// A caller that leaves at the moment of the answer gets the answer or its context's error, and other callers notice nothing.
func TestAskEndsAsItIsAnswered(t *testing.T) {
	grown(t, func(t *testing.T, g *grove) {
		for range 200 {
			ctx, leave := context.WithCancel(t.Context())
			go leave()
			if _, err := g.Ask(ctx, hostID, &messages.QueryView{}); err != nil && messages.CodeOf(err) != messages.Cancelled {
				t.Fatal(err)
			}
		}
	})
}

func TestBornOnce(t *testing.T) {
	grown(t, func(t *testing.T, g *grove) {
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { _ = g.Spawn(gpuID) })
		}
		all.Wait()
		if n := g.born.Load(); n != 1 || !slices.Equal(g.Actors(), []messages.ActorID{gpuID}) {
			t.Errorf("born %d times; %v live", n, g.Actors())
		}
	})
}

// Names that differ in a slash and a colon only are two actors.
func TestNamesDontCollide(t *testing.T) {
	grown(t, func(t *testing.T, g *grove) {
		for _, name := range []string{"a/b", "a:b", "a%2Fb"} {
			if err := g.Spawn(messages.GPUActor("main_pc", name)); err != nil {
				t.Error(err)
			}
		}
	})
}

// A crashed actor restarts alone, after growing pauses, with the state of its journal; other actors notice nothing.
func TestCrashesBackOffAndGiveUp(t *testing.T) {
	grown(t, func(t *testing.T, g *grove) {
		if err := g.Spawn(hostID); err != nil {
			t.Fatal(err)
		}
		g.register(t)
		other := messages.GPUActor("main_pc", "other")
		if _, err := g.Ask(t.Context(), other, &messages.RegisterDevice{CapacityBytes: 1}); err != nil {
			t.Fatal(err)
		}
		for range 8 {
			if _, err := g.Ask(t.Context(), gpuID, &messages.Crash{Reason: "drill"}); messages.CodeOf(err) != messages.Unavailable {
				t.Fatalf("%v", err)
			}
			if _, err := g.Ask(t.Context(), other, &messages.QueryView{}); err != nil {
				t.Error(err)
			}
		}
		want := []time.Duration{0, 50 * time.Millisecond, 150 * time.Millisecond, 350 * time.Millisecond, 750 * time.Millisecond, 1550 * time.Millisecond,
			3150 * time.Millisecond, 6350 * time.Millisecond}
		synctest.Wait() // the answer comes before the supervisor's turn
		g.mu.Lock()
		restarts := slices.Clone(g.restarts)
		g.mu.Unlock()
		if !slices.Equal(restarts, want) {
			t.Errorf("crashed at %v, want %v", restarts, want)
		}
		time.Sleep(7 * time.Second) // the last pause is longer than a caller waits
		r, err := g.Ask(t.Context(), gpuID, &messages.QueryView{})
		if err != nil || r.Sequence != 1 {
			t.Fatalf("after eight crashes: %v, %v", r, err)
		}
		_, _ = g.Ask(t.Context(), gpuID, &messages.Crash{Reason: "the last"})
		synctest.Wait()
		if _, err := g.Ask(t.Context(), gpuID, &messages.QueryView{}); messages.CodeOf(err) != messages.Unavailable || messages.AsError(err).Hint == "" {
			t.Errorf("down: %v", err)
		}
		last := g.journal.Of(hostID)
		if e, ok := last[len(last)-1].Events[0].(*messages.ActorGaveUp); !ok || e.Actor != gpuID.String() || e.Failures != 9 {
			t.Fatalf("the host's journal ends with %v", last[len(last)-1].Events)
		}
		if _, err := g.Ask(t.Context(), hostID, &messages.RestartActor{Actor: gpuID.String()}); err != nil {
			t.Fatal(err)
		}
		if r, err := g.Ask(t.Context(), gpuID, &messages.QueryView{}); err != nil || r.Sequence != 1 {
			t.Errorf("revived: %v, %v", r, err)
		}
		_, _ = g.Ask(t.Context(), gpuID, &messages.Crash{Reason: "after it was revived"})
		if _, err := g.Ask(t.Context(), gpuID, &messages.QueryView{}); err != nil {
			t.Errorf("revived, it may crash as often as before: %v", err)
		}
	})
}

// However often an actor may fail, no pause is longer than half a minute.
func TestPauses(t *testing.T) {
	b := Backoff{Limit: 100}.orDefault()
	for n, want := range map[int]time.Duration{1: 50 * time.Millisecond, 8: 6400 * time.Millisecond, 11: 30 * time.Second, 99: 30 * time.Second} {
		if got := b.pause(n); got != want {
			t.Errorf("after %d failures: %s, want %s", n, got, want)
		}
	}
}

// Failures that lie a window apart are first failures again.
func TestOldFailuresAreForgotten(t *testing.T) {
	grown(t, func(t *testing.T, g *grove) {
		g.register(t)
		for range 20 {
			_, _ = g.Ask(t.Context(), gpuID, &messages.Crash{})
			time.Sleep(2 * time.Minute)
		}
		if _, err := g.Ask(t.Context(), gpuID, &messages.QueryView{}); err != nil {
			t.Error(err)
		}
	})
}

// The supervisor reports a give-up while the host actor doesn't run: it must not wait for a spawn that it has to do itself.
func TestGiveUpWithoutAHost(t *testing.T) {
	grown(t, func(t *testing.T, g *grove) {
		g.register(t)
		for range 9 {
			_, _ = g.Ask(t.Context(), gpuID, &messages.Crash{})
		}
		time.Sleep(7 * time.Second) // the last pause is longer than a caller waits
		if _, err := g.Ask(t.Context(), messages.GPUActor("main_pc", "other"), &messages.RegisterDevice{CapacityBytes: 1}); err != nil {
			t.Error(err)
		}
		if len(g.journal.Of(hostID)) != 1 {
			t.Error("the host never heard of it")
		}
	})
}

func TestAfterStop(t *testing.T) {
	grown(t, func(t *testing.T, g *grove) {
		g.register(t)
		late := New(g.o)
		late.Grow(g.spawn)
		late.Stop()
		if _, err := late.Ask(t.Context(), gpuID, &messages.QueryView{}); messages.CodeOf(err) != messages.Unavailable {
			t.Errorf("%v", err)
		}
	})
}
