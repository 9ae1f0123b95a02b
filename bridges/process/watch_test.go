package process

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestWatchTellsTheExit(t *testing.T) {
	s := New(Options{})
	h := start(t, s, shell(t, fails))
	e, err := s.Watch(t.Context(), h)
	if err != nil || e.Code != 7 || e.Reason != "exit code 7" || e.Unwitnessed || !slices.Equal(e.LogTail, []string{"hello", "error: it broke"}) {
		t.Errorf("%+v %v", e, err)
	}
	again, err := s.Ended(t.Context(), h, nil)
	if err != nil || again.Code != 7 || again.Unwitnessed {
		t.Errorf("asked again: %+v %v", again, err)
	}
	e, err = New(Options{}).Watch(t.Context(), h)
	if err != nil || e.Code != -1 || !e.Unwitnessed || !slices.Equal(e.LogTail, []string{"hello", "error: it broke"}) {
		t.Errorf("watched by another, too late: %+v %v", e, err)
	}
}

// SIGKILL reaches the whole group at once. The child in another session is killed before Watch returns.
func TestKillOfTheGroupIsWitnessed(t *testing.T) {
	s := New(Options{})
	h := start(t, s, shell(t, parent))
	if err := syscall.Kill(-int(h.Pid), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e, err := s.Watch(t.Context(), h); e.Code != Killed || e.Unwitnessed || !strings.Contains(e.Reason, "memory runs out") || err != nil {
		t.Error(e, err)
	}
	expectDead(t, h)
}

// Whether a watcher that is not the parent sees the end or comes too late for it, nothing is left.
func TestKillOfAnAdoptedGroupLeavesNothing(t *testing.T) {
	h := lostStarter(t, parent)
	seen := make(chan Exit, 1)
	go func() {
		e, err := New(Options{}).Watch(t.Context(), h)
		if err != nil {
			t.Error(err)
		}
		seen <- e
	}()
	if err := syscall.Kill(-int(h.Pid), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e := <-seen; e.Code != -1 && (e.Unwitnessed || e.Code != Killed) {
		t.Errorf("%+v", e)
	}
	eventually(t, "the end of all", func() bool { return !slices.ContainsFunc(append(childrenOf(h), h.Pid), running) })
}

// The leader alone is killed. Its children, one of them in another session, end before Watch returns.
func TestWatchKillsWhatIsLeft(t *testing.T) {
	s := New(Options{})
	h := start(t, s, shell(t, parent))
	_ = syscall.Kill(int(h.Pid), syscall.SIGKILL)
	if e, err := s.Watch(t.Context(), h); e.Code != Killed || err != nil {
		t.Error(e, err)
	}
	expectDead(t, h)
	if err := s.Stop(t.Context(), h, 0, nil); err != nil {
		t.Error("a stop after the end:", err)
	}
}

func TestWatchLeavesTheProcessWhenItsContextEnds(t *testing.T) {
	s := New(Options{})
	h := start(t, s, shell(t, waits))
	for _, who := range []*Supervisor{s, New(Options{})} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond) // meant to pass: the process doesn't end
		_, err := who.Watch(ctx, h)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || !running(h.Pid) {
			t.Fatal(err)
		}
	}
	impostor, over := h, canceled(t)
	impostor.Nonce = "other"
	for _, h := range []Handle{h, impostor} {
		if e, err := New(Options{}).Watch(over, h); !errors.Is(err, context.Canceled) {
			t.Error("a watch that is over tells of an end:", e, err)
		}
	}
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// The exit code of a process is learnt although another program started it.
func TestAdoptedProcessesExitCode(t *testing.T) {
	h := lostStarter(t, deaf)
	s := New(Options{})
	if found, live, err := s.Find(t.Context(), h.Nonce); found != h || live != Alive || err != nil {
		t.Fatalf("%v %v\n%+v\n%+v", live, err, h, found)
	}
	p, live, err := s.Open(h)
	if live != Alive {
		t.Fatal(err)
	}
	defer p.Close()
	if p.Ended() {
		t.Fatal("it has not ended yet")
	}
	if err := p.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := p.exit(h); e.Code != Killed || e.Unwitnessed {
		t.Errorf("%+v", e)
	}
}

func TestWatchKeepsTheLogSmall(t *testing.T) {
	s := New(Options{LogLimit: 1000})
	h := start(t, s, shell(t, chatty))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _, _ = s.Watch(ctx, h) }()
	eventually(t, "a smaller log", func() bool {
		st, err := os.Stat(h.LogPath)
		return err == nil && st.Size() <= 1000 && slices.Equal(Tail(h.LogPath, 2), []string{"line 499", "up"})
	})
	cancel()
	<-done
}
