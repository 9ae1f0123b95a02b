package process

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"modelops/messages"
)

func TestStartRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		change func(*Spec)
		code   messages.Code
	}{
		"needs a nonce":       {func(s *Spec) { s.Nonce = "" }, messages.InvalidArgument},
		"no command":          {func(s *Spec) { s.Argv = nil }, messages.InvalidArgument},
		"there is no command": {func(s *Spec) { s.Argv = []string{""} }, messages.InvalidArgument},
		"needs a log file":    {func(s *Spec) { s.LogPath = "" }, messages.InvalidArgument},
		"can't be written":    {func(s *Spec) { s.LogPath = file + "/x.log" }, messages.FailedPrecondition},
		"/no/such/program":    {func(s *Spec) { s.Argv = []string{"/no/such/program"} }, messages.FailedPrecondition},
		"no-such-program can": {func(s *Spec) { s.Argv = []string{"no-such-program"} }, messages.FailedPrecondition},
		"can't be started":    {func(s *Spec) { s.Argv = []string{file} }, messages.FailedPrecondition},
		"working directory":   {func(s *Spec) { s.Dir = "/no/such/folder" }, messages.FailedPrecondition},
	}
	for want, c := range tests {
		spec := shell(t, waits)
		c.change(&spec)
		s := New(Options{})
		_, started, err := s.Start(t.Context(), spec)
		if e := messages.AsError(err); err == nil || started || e.Code != c.code || !strings.Contains(e.Message, want) {
			t.Errorf("%s: %v %v", want, started, err)
		}
		if len(s.children) != 0 {
			t.Errorf("%s: a process was started", want)
		}
	}
}

func TestProcessGetsItsEnvironmentAndFolder(t *testing.T) {
	spec := shell(t, `pwd; echo "$A $MODELOPS_NONCE $MODELOPS_LOG"; echo up; exec sleep 600`)
	spec.Env, spec.Dir = []string{"PATH=" + os.Getenv("PATH"), "A=b"}, "/"
	h := start(t, New(Options{}), spec)
	if got, want := Tail(h.LogPath, 9), []string{"/", "b " + spec.Nonce + " " + spec.LogPath, "up"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if len(spec.Env) != 2 || Variable(h.Pid, "A") != "b" || Variable(h.Pid, fingerprintVar) != h.Fingerprint || Variable(h.Pid, "NONE") != "" {
		t.Error("another environment than the process's")
	}
}

func TestStartIsIdempotentByNonce(t *testing.T) {
	s := New(Options{})
	spec := shell(t, waits)
	h := start(t, s, spec)
	spec.LogPath = "" // whatever else it says
	for name, s := range map[string]*Supervisor{"its starter": s, "another": New(Options{})} {
		spec.LogPath = filepath.Join(t.TempDir(), "never.log")
		again, started, err := s.Start(t.Context(), spec)
		if err != nil || started || again != h {
			t.Errorf("%s: %v %v\n%+v\n%+v", name, started, err, h, again)
		}
		if found, live, err := s.Find(t.Context(), h.Nonce); found != h || live != Alive || err != nil {
			t.Errorf("%s: %v %v\n%+v\n%+v", name, live, err, h, found)
		}
	}
	if _, live, err := s.Find(t.Context(), ""); live != Gone || err != nil {
		t.Error(live, err)
	}
}

func TestStartsAtTheSameTimeMakeOneProcess(t *testing.T) {
	s := New(Options{})
	spec := shell(t, waits)
	type result struct {
		h       Handle
		started bool
		err     error
	}
	results := make(chan result, 8)
	for range cap(results) {
		go func() {
			h, started, err := s.Start(t.Context(), spec)
			results <- result{h, started, err}
		}()
	}
	made := 0
	var first Handle
	for range cap(results) {
		r := <-results
		if first.Pid == 0 {
			first = r.h
			t.Cleanup(func() { end(t, s, first) })
		}
		if r.started {
			made++
		}
		if r.err != nil || r.h != first {
			t.Errorf("a second process: %+v and %+v, %v", r.h, first, r.err)
		}
	}
	if made != 1 {
		t.Errorf("%d calls say that they started it", made)
	}
}

// What a dead process left behind is no process of its nonce, and is killed by the next look.
func TestFindKillsWhatADeadProcessLeft(t *testing.T) {
	s := New(Options{})
	h := start(t, s, shell(t, parent))
	_ = syscall.Kill(int(h.Pid), syscall.SIGKILL)
	<-s.childOf(h).done
	if found, live, err := New(Options{}).Find(t.Context(), h.Nonce); live != Gone || err != nil {
		t.Fatal("a left child was taken for the process:", found, live, err)
	}
	eventually(t, "the children's end", func() bool { return !slices.ContainsFunc(childrenOf(h), running) })
}

// lateCancel is a context that is cancelled after it was asked some times.
type lateCancel struct {
	context.Context
	asked int
}

func (c *lateCancel) Err() error {
	if c.asked--; c.asked < 0 {
		return context.Canceled
	}
	return nil
}

// A start that is cancelled at any moment before the fork leaves no process, no child and no handle.
func TestCancelledStartStartsNothing(t *testing.T) {
	for asked := range 2 {
		s := New(Options{})
		spec := shell(t, waits)
		h, started, err := s.Start(&lateCancel{t.Context(), asked}, spec)
		if !errors.Is(err, context.Canceled) || started || h != (Handle{}) || len(s.children) != 0 {
			t.Errorf("cancelled after %d looks: %+v %v %v", asked, h, started, err)
		}
		if found, live, err := s.Find(t.Context(), spec.Nonce); live != Gone || err != nil {
			t.Errorf("cancelled after %d looks, there is %+v: %v %v", asked, found, live, err)
		}
	}
}

// A Find that begins in the middle of a start waits for its end.
func TestFindWaitsForAStart(t *testing.T) {
	s := New(Options{})
	s.mu.Lock() // a start
	found := make(chan struct{})
	go func() {
		defer close(found)
		_, _, _ = s.Find(t.Context(), "n")
	}()
	soon, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // meant to pass: Find waits
	defer cancel()
	select {
	case <-found:
		t.Error("it looked in the middle of a start")
	case <-soon.Done():
	}
	s.mu.Unlock()
	<-found
}

// An unload that cancels a start and then finds no process relies on it: none comes later.
func TestFindAfterCancelSeesEveryStart(t *testing.T) {
	s := New(Options{})
	started, refused := 0, 0
	for i := range 12 {
		spec := shell(t, waits)
		ctx, cancel := context.WithCancel(t.Context())
		if i%3 == 0 {
			s.mu.Lock() // another process's start
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _, _ = s.Start(ctx, spec)
		}()
		if i%3 == 1 {
			<-done
		}
		cancel()
		if i%3 == 0 {
			s.mu.Unlock()
		}
		h, live, err := s.Find(t.Context(), spec.Nonce)
		<-done
		switch {
		case err != nil:
			t.Fatal(err)
		case live == Alive:
			started++
			end(t, s, h)
			continue
		}
		refused++
		if h, live, err := s.Find(t.Context(), spec.Nonce); live != Gone {
			t.Errorf("round %d: a process came after Find had seen none: %+v %v %v", i, h, live, err)
			end(t, s, h)
		}
	}
	if started == 0 || refused == 0 {
		t.Errorf("%d starts came before the cancellation and %d after it: one of them was not tried", started, refused)
	}
}
