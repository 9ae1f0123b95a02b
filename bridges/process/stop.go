package process

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"time"
)

// KillTime is how long the kernel may take to end a process after SIGKILL. One that hangs in a driver takes longer.
const KillTime = 5 * time.Second

// Stop ends a process and all that it started, also what left its group or session. While the process itself is alive, ask
// is called first, if there is one: the program's own way to end, with a context of at most grace. SIGTERM follows, and
// SIGKILL to what is left after grace. Only processes that prove themselves are signalled.
//
// It is nil when nothing is left. It is Unavailable when something can't be ended, and when it can't be told whether something is left: then
// nothing may be taken for gone. When ctx ends, its error is returned and the rest is still to be done.
func (s *Supervisor) Stop(ctx context.Context, h Handle, grace time.Duration, ask func(context.Context)) error {
	switch live, why := s.bootOf(h); live {
	case Gone:
		return nil
	case Unknown:
		return cantKnow(h.Nonce, why)
	}
	until := time.Now().Add(grace)
	t := s.treeOf(h)
	if t.leader != nil {
		defer t.leader.Close()
	}
	if t.live == Unknown {
		return cantKnow(h.Nonce, t.why)
	}
	if t.leader != nil && ask != nil {
		limited, cancel := context.WithDeadline(ctx, until)
		ask(limited)
		cancel()
	}
	t.signal(syscall.SIGTERM)
	if err := t.await(ctx, until); err != nil {
		return err
	}
	if err := t.kill(ctx, time.Now().Add(KillTime)); err != nil {
		return err
	}
	t.reap()
	return s.reaped(ctx, h)
}

// bootOf is sameBoot, but for a child, which is of this boot in any case.
func (s *Supervisor) bootOf(h Handle) (Liveness, error) {
	if s.childOf(h) != nil {
		return Alive, nil
	}
	return s.sameBoot(h)
}

// StopStarted stops what this Supervisor has started and still runs, all at once: also a process that its starter had no time to record.
// Nothing is started afterwards. The errors are Stop's.
func (s *Supervisor) StopStarted(ctx context.Context, grace time.Duration) error {
	s.mu.Lock()
	s.closed = true
	var left []Handle
	for _, c := range s.children {
		if !c.ended() {
			left = append(left, c.handle)
		}
	}
	s.mu.Unlock()
	failed := make([]error, len(left))
	var wg sync.WaitGroup
	for i, h := range left {
		wg.Go(func() { failed[i] = s.Stop(ctx, h, grace, nil) })
	}
	wg.Wait()
	return errors.Join(failed...)
}

// reaped returns once our own child has been reaped.
func (s *Supervisor) reaped(ctx context.Context, h Handle) error {
	c := s.childOf(h)
	if c == nil {
		return nil
	}
	return c.await(ctx)
}

// killRest kills what a process that was proven and has died left behind, and returns when that is gone, or when ctx ends: what hangs in the
// kernel, and what can't be looked at, may hold memory. There is no grace: nothing is left that could stop them in order, and the next process
// needs their memory.
func (s *Supervisor) killRest(ctx context.Context, h Handle) error {
	t := s.treeOf(h)
	if t.leader != nil {
		defer t.leader.Close()
	}
	if left, _ := t.members(); len(left) > 0 {
		s.log.Warn("children of a dead process are killed", "pid", h.Pid, "children", len(left))
	}
	pause, late := 5*time.Millisecond, time.Now().Add(s.killTime)
	for told := false; ; {
		left, err := t.members()
		if err == nil && len(left) == 0 {
			t.reap()
			return nil
		}
		if time.Now().After(late) && !told {
			told = true
			s.log.Error("children of a dead process don't end: its memory isn't free", "pid", h.Pid, "children", len(left), "error", t.stays(Alive, nil))
		}
		if err != nil || told {
			pause = min(2*pause, unknownPause)
		}
		t.signal(syscall.SIGKILL)
		if err := Sleep(ctx, pause); err != nil {
			return err
		}
	}
}
