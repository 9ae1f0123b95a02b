package process

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"
)

// S10: SIGTERM, and SIGKILL after the grace, to the process and to all that it started, also in another session.
func TestS10StopEscalates(t *testing.T) {
	tests := map[string]struct {
		script string
		grace  time.Duration
		code   int32
		before syscall.Signal // sent before Stop, 0 for none
	}{
		"on SIGTERM":                {waits, time.Minute, 128 + 15, 0},
		"deaf to SIGTERM":           {deaf, 50 * time.Millisecond, Killed, 0},
		"deaf, without any grace":   {deaf, 0, Killed, 0},
		"with an exit code":         {`trap "exit 3" TERM; echo up; while :; do sleep 0.01; done`, time.Minute, 3, 0},
		"stopped by job control":    {waits, 50 * time.Millisecond, Killed, syscall.SIGSTOP},
		"children that are deaf":    {parent, 50 * time.Millisecond, 128 + 15, 0},
		"a parent that is deaf too": {`trap "" TERM; setsid sleep 600 & echo child $!; sleep 600 & echo child $!; echo up; wait`, 50 * time.Millisecond, Killed, 0},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			s := New(Options{})
			h := start(t, s, shell(t, c.script))
			if c.before == syscall.SIGSTOP {
				_ = syscall.Kill(int(h.Pid), c.before)
				eventually(t, "it is stopped", func() bool { st, _ := readStat(h.Pid); return st.state == 'T' })
			}
			began := time.Now()
			if err := s.Stop(t.Context(), h, c.grace, nil); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); c.code == Killed && took < c.grace {
				t.Errorf("killed after %v, its grace is %v", took, c.grace)
			}
			if e, err := s.Watch(t.Context(), h); e.Code != c.code || e.Unwitnessed || err != nil {
				t.Errorf("%+v %v, want code %d", e, err, c.code)
			}
			if len(childrenOf(h)) > 0 {
				expectDead(t, h)
			}
			if live, err := s.Prove(h); live != Gone {
				t.Error(live, err)
			}
			if err := s.Stop(t.Context(), h, time.Minute, nil); err != nil {
				t.Error("a second stop:", err)
			}
		})
	}
}

func TestStopOfAnAdoptedProcess(t *testing.T) {
	h := lostStarter(t, parent)
	s := New(Options{})
	if err := s.Stop(t.Context(), h, 50*time.Millisecond, nil); err != nil {
		t.Fatal(err)
	}
	expectDead(t, h)
}

// The program's own way to end comes first, within grace. It is not tried on a process that is gone.
func TestStopAsksFirst(t *testing.T) {
	s := New(Options{})
	h := start(t, s, shell(t, deaf))
	asked := 0
	ask := func(ctx context.Context) {
		asked++
		if until, ok := ctx.Deadline(); !ok || time.Until(until) > time.Minute {
			t.Error("the grace does not bound it:", until, ok)
		}
		_ = syscall.Kill(int(h.Pid), syscall.SIGINT)
	}
	for range 2 {
		if err := s.Stop(t.Context(), h, time.Minute, ask); err != nil {
			t.Fatal(err)
		}
	}
	if e, err := s.Watch(t.Context(), h); asked != 1 || e.Code != 128+2 || err != nil {
		t.Errorf("asked %d times: %+v %v", asked, e, err)
	}
}

// A stop that is cut short leaves the rest to the next one.
func TestStopEndsWithItsContext(t *testing.T) {
	s := New(Options{})
	h := start(t, s, shell(t, deaf))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond) // meant to pass: the process is deaf
	defer cancel()
	if err := s.Stop(ctx, h, time.Minute, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if live, err := s.Prove(h); live != Alive {
		t.Fatal(live, err)
	}
	if err := s.Stop(t.Context(), h, 0, nil); err != nil {
		t.Error(err)
	}
	if live, err := s.Prove(h); live != Gone {
		t.Error(live, err)
	}
}

// What was started here is stopped without its handle; what another started stays.
func TestStopStarted(t *testing.T) {
	s, other := New(Options{}), New(Options{})
	first, second, stranger := start(t, s, shell(t, deaf)), start(t, s, shell(t, deaf)), start(t, other, shell(t, deaf))
	if err := s.StopStarted(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	for h, want := range map[Handle]Liveness{first: Gone, second: Gone, stranger: Alive} {
		if live, err := s.Prove(h); live != want {
			t.Errorf("pid %d is %v (%v), want %v", h.Pid, live, err, want)
		}
	}
	if err := s.StopStarted(t.Context(), 0); err != nil {
		t.Error("nothing is left: ", err)
	}
}

// Many ended children are not remembered for ever; living ones are.
func TestEndedChildrenAreForgotten(t *testing.T) {
	s := New(Options{})
	closed := make(chan struct{})
	close(closed)
	s.keep(&child{handle: Handle{Pid: 2, Nonce: "lives"}, done: make(chan struct{})})
	for i := range 3 * keptChildren {
		s.keep(&child{handle: Handle{Pid: int64(i), Nonce: string(rune('a' + i))}, done: closed})
	}
	if len(s.children) > keptChildren+1 || s.childOf(Handle{Pid: 2, Nonce: "lives"}) == nil {
		t.Errorf("%d are remembered", len(s.children))
	}
}
