package host

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// slow is a door whose actors take some time to answer, and which notes when they were asked and how many at once.
type slow struct {
	takes   map[string]time.Duration
	refuses map[string]error

	mu          sync.Mutex
	began       time.Time
	asked       []string
	running     int
	mostRunning int
}

func (s *slow) Ask(ctx context.Context, to messages.ActorID, m proto.Message) (messages.Reply, error) {
	s.mu.Lock()
	s.asked = append(s.asked, time.Since(s.began).String()+" "+to.String()+" "+string(m.ProtoReflect().Descriptor().Name()))
	s.running++
	s.mostRunning = max(s.mostRunning, s.running)
	s.mu.Unlock()
	time.Sleep(s.takes[to.String()])
	s.mu.Lock()
	s.running--
	s.mu.Unlock()
	return messages.Reply{}, s.refuses[to.String()]
}
func (s *slow) Tell(context.Context, messages.ActorID, proto.Message) {}

func recovering(s *slow) (*Recovery, *bytes.Buffer) {
	log := &bytes.Buffer{}
	s.began = time.Now()
	return NewRecovery("h", s, slog.New(slog.NewTextHandler(log, nil))), log
}

var (
	gpu0       = messages.GPUActor("h", "gpu0")
	modelA     = messages.ModelActor("h", "a")
	modelB     = messages.ModelActor("h", "b")
	ofJournal  = []messages.ActorID{modelA, gpu0, modelB}
	placeModel = &messages.RequestPlacement{}
)

// After a kill -9 a model was placed while the other one of its group still read its journal, and both were resident. Placement is
// disabled until every actor in the journal has recovered and follows the configuration; nothing else waits.
func TestPlacementIsDisabledUntilAllHaveRecovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{takes: map[string]time.Duration{"host/h": 2 * time.Second, "gpu/h/gpu0": 3 * time.Second, "model/h/b": 10 * time.Second}}
		r, _ := recovering(s)
		var steps []string
		step := func(name string, takes time.Duration) func(context.Context) error {
			return func(context.Context) error {
				steps = append(steps, name+" "+time.Since(s.began).String())
				time.Sleep(takes)
				return nil
			}
		}
		var placed sync.WaitGroup
		placed.Go(func() { // as an actor does that has read its journal
			_, _ = r.Placing().Ask(t.Context(), messages.ArbiterActor(), placeModel)
		})
		if _, err := r.Placing().Ask(t.Context(), messages.ArbiterActor(), &messages.ClosePlacement{}); err != nil {
			t.Errorf("what is no placement waits: %v", err)
		}
		if err := r.Run(t.Context(), &messages.StartHost{}, ofJournal, step("register", time.Second), step("follow", time.Second)); err != nil || !r.Over() {
			t.Fatalf("over %t, %v", r.Over(), err)
		}
		placed.Wait()
		slices.Sort(s.asked)
		want := []string{"0s arbiter ClosePlacement", "0s gpu/h/gpu0 QueryView", "0s host/h StartHost", "15s arbiter RequestPlacement",
			"4s gpu/h/gpu0 QueryView", "4s model/h/a QueryView", "4s model/h/b QueryView"}
		if !slices.Equal(s.asked, want) || !slices.Equal(steps, []string{"register 3s", "follow 14s"}) {
			t.Errorf("asked %q, steps %q", s.asked, steps)
		}
	})
}

func TestAPlacementThatIsNoLongerWanted(t *testing.T) {
	r, _ := recovering(&slow{})
	gone, leave := context.WithCancel(t.Context())
	leave()
	if _, err := r.Placing().Ask(gone, messages.ArbiterActor(), placeModel); messages.CodeOf(err) != messages.Cancelled {
		t.Errorf("its caller left, and it still waits: %v", err)
	}
}

// A step that fails ends the start, and placement stays disabled. An actor that doesn't recover is logged and holds up no other.
func TestRecoveryThatFails(t *testing.T) {
	broken := errors.New("broken")
	well := func(context.Context) error { return nil }
	badly := func(context.Context) error { return broken }
	for name, c := range map[string]struct {
		refuses          map[string]error
		register, follow func(context.Context) error
		fails            bool
		logged           string
	}{
		"the host":      {map[string]error{"host/h": broken}, well, well, true, ""},
		"a device":      {nil, badly, well, true, ""},
		"configuration": {nil, well, badly, true, ""},
		"one actor":     {map[string]error{"model/h/a": broken}, well, well, false, "actor=model/h/a"},
	} {
		t.Run(name, func(t *testing.T) {
			r, log := recovering(&slow{refuses: c.refuses})
			err := r.Run(t.Context(), &messages.StartHost{}, ofJournal, c.register, c.follow)
			if errors.Is(err, broken) != c.fails || r.Over() == c.fails || !strings.Contains(log.String(), c.logged) {
				t.Errorf("over %t, %v, logged %s", r.Over(), err, log)
			}
		})
	}
}

func TestSomeReadTheirJournalsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{takes: map[string]time.Duration{}}
		var known []messages.ActorID
		for i := range 4 * atOnce {
			id := messages.ModelActor("h", strings.Repeat("m", i+1))
			known, s.takes[id.String()] = append(known, id), time.Second
		}
		r, _ := recovering(s)
		r.bringBack(t.Context(), known)
		if took := time.Since(s.began); took != 4*time.Second || s.mostRunning != atOnce {
			t.Errorf("it took %s with %d at once", took, s.mostRunning)
		}
	})
}

// A worker that ended while the host was down is noticed before a request can reach its port; the gateway is told last.
func TestVerify(t *testing.T) {
	worker := func(pid int64) *messages.Worker { return &messages.Worker{Pid: pid} }
	var awaited []string
	s := shown{models: []*messages.ModelView{
		{Name: "lives", Phase: messages.ModelView_ready, Worker: worker(1)}, {Name: "ended", Phase: messages.ModelView_ready, Attempt: 3, Worker: worker(2)},
		{Name: "stays", Phase: messages.ModelView_ready, Worker: worker(2)}, {Name: "hidden", Phase: messages.ModelView_ready, Attempt: 3, Worker: worker(3)}, {Name: "loads", Phase: messages.ModelView_loading, Worker: worker(2)}, {Name: "idle", Phase: messages.ModelView_absent},
	}}
	s.await = func(id messages.ActorID, wanted func(*messages.ModelView) bool) error {
		awaited = append(awaited, id.Name())
		if id.Name() == "stays" {
			return messages.NewError(messages.DeadlineExceeded, id.String(), "too late")
		}
		for v, want := range map[*messages.ModelView]bool{{Phase: messages.ModelView_ready, Attempt: 3}: false, {Phase: messages.ModelView_waiting, Attempt: 3}: true, {Phase: messages.ModelView_ready, Attempt: 4}: true} {
			if wanted(v) != want {
				t.Errorf("%v: %t", v, !want)
			}
		}
		return nil
	}
	o, log := &orders{}, &bytes.Buffer{}
	asked := 0
	prove := func(w *messages.Worker) (error, bool) {
		switch w.Pid {
		case 1:
			return nil, true
		case 3: // can't be told at first
			asked++
			return errors.New("no descriptors"), asked > 2
		}
		return errors.New("another process has its pid"), true
	}
	Verify(t.Context(), "h", s, o, prove, slog.New(slog.NewTextHandler(log, nil)))
	if !slices.Equal(awaited, []string{"ended", "stays", "hidden"}) || !slices.Equal(o.asked, []string{"gateway/h QueryView"}) {
		t.Errorf("awaited %q, asked %q", awaited, o.asked)
	}
	for _, line := range []string{`level=INFO msg="a worker did not outlive the last stop" model=ended`, `level=ERROR msg="a model stays ready though its worker is gone" model=stays`} {
		if !strings.Contains(log.String(), line) {
			t.Errorf("no %s in %s", line, log)
		}
	}
}
