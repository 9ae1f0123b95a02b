package process

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"time"

	"modelops/messages"
)

// KillTime is how long the kernel may take to end a process after SIGKILL. One that hangs in a driver takes longer.
const KillTime = 5 * time.Second

// Stop ends a process and all that it started, also what left its group or session. While the process itself is alive, ask
// is called first, if there is one: the program's own way to end, with a context of at most grace. SIGTERM follows, and
// SIGKILL to what is left after grace. Only processes that prove themselves are signalled.
//
// It is nil when nothing is left, and Unavailable when something can't be ended. When ctx ends, its error is returned and
// the rest is still to be done.
func (s *Supervisor) Stop(ctx context.Context, h Handle, grace time.Duration, ask func(context.Context)) error {
	if h.BootID != s.bootID {
		return nil
	}
	until := time.Now().Add(grace)
	t := s.treeOf(h)
	if t.leader != nil {
		defer t.leader.Close()
		if ask != nil {
			limited, cancel := context.WithDeadline(ctx, until)
			ask(limited)
			cancel()
		}
	}
	t.signal(syscall.SIGTERM)
	if err := t.await(ctx, until); err != nil {
		return err
	}
	for end := time.Now().Add(KillTime); t.alive(); {
		t.signal(syscall.SIGKILL)
		if time.Now().After(end) {
			return messages.Errorf(messages.Unavailable, h.Nonce, "the process (pid %d) is still there %s after SIGKILL", h.Pid, KillTime).
				WithHint("it hangs in the kernel, most likely in a driver: see dmesg; its memory is not free").WithRetry(KillTime)
		}
		if err := Sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	t.reap()
	return s.reaped(ctx, h)
}

// StopStarted stops what this Supervisor has started and still runs, all at once: also a process that its starter had no time to record.
// The errors are Stop's.
func (s *Supervisor) StopStarted(ctx context.Context, grace time.Duration) error {
	s.mu.Lock()
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
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// killRest kills what a process that was proven and has died left behind, and returns when that is gone. A process that
// hangs in the kernel is waited for no longer than KillTime. There is no grace: nothing is left that could stop them in
// order, and the next process needs their memory.
func (s *Supervisor) killRest(ctx context.Context, h Handle) error {
	t := s.treeOf(h)
	if t.leader != nil {
		defer t.leader.Close()
	}
	for _, m := range t.members() {
		s.killLeft(m)
	}
	for end := time.Now().Add(KillTime); len(t.members()) > 0 && time.Now().Before(end); {
		t.signal(syscall.SIGKILL)
		if err := Sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	t.reap()
	return nil
}
