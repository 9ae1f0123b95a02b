package process

import (
	"cmp"
	"context"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"modelops/messages"
)

// tree is a process with all that it started. It is looked up each time, and remembers the members that it has seen: a
// process whose parent has died is no longer found by its parent.
type tree struct {
	handle Handle
	leader *Hold // nil unless live is Alive
	live   Liveness
	why    error // why the process itself is not Alive
	seen   map[int64]uint64
	logs   []string // those of its nonce
	// unsent is why a signal that was needed could not be sent.
	unsent error
}

// treeOf looks the process up. The caller closes the leader, if there is one.
func (s *Supervisor) treeOf(h Handle) *tree {
	t := &tree{handle: h, seen: map[int64]uint64{}}
	t.leader, t.live, t.why = s.Open(h)
	t.logs, _ = s.logsOf(h.Nonce, h.LogPath)
	return t
}

// members are the descendants, those in the process group, and those that carry the nonce or write to its log; each younger than the process
// itself, which is not among them. Descent and group count only while the process itself is alive, or when they were seen
// then. The error says that there may be more of them: some process could not be looked at for lack of means, or
// what is left hides and is known by the log that it writes to.
func (t *tree) members() ([]stat, error) {
	held, err := anyWritten(t.logs)
	all, unlisted := processes()
	err = cmp.Or(err, unlisted)
	leading := t.leader != nil && !t.leader.Ended()
	var below map[int64]bool
	if leading {
		below = map[int64]bool{}
		for _, st := range descendants(t.handle.Pid, all) {
			below[st.pid] = true
		}
	}
	var out []stat
	for _, st := range all {
		if st.pid == t.handle.Pid || st.dead() || st.startTicks < t.handle.StartTicks {
			continue
		}
		member := t.seen[st.pid] == st.startTicks && st.startTicks > 0 || leading && st.group == t.handle.Pid || below[st.pid]
		if !member {
			is, unread := belongs(st.pid, t.handle.Nonce, held)
			err = cmp.Or(err, unread)
			member = is
		}
		if member {
			t.seen[st.pid] = st.startTicks
			out = append(out, st)
		}
	}
	if !leading && len(out) == 0 && len(held) > 0 {
		more, why := leftBehind(all, held)
		for _, st := range more {
			t.seen[st.pid] = st.startTicks
		}
		return more, cmp.Or(err, why)
	}
	return out, err
}

// left tells whether anything of the tree is alive; Unknown comes with the reason.
func (t *tree) left() (Liveness, error) {
	members, err := t.members()
	switch {
	case t.leader != nil && !t.leader.Ended(), len(members) > 0:
		return Alive, nil
	case err != nil:
		return Unknown, err
	}
	return Gone, nil
}

// signal sends to each process that is left, oldest first, each by a hold on it.
func (t *tree) signal(sig syscall.Signal) {
	members, _ := t.members()
	t.unsent = nil
	if t.leader != nil && !t.leader.Ended() {
		t.unsent = unlessEnded(t.leader.signal(sig))
	}
	slices.SortFunc(members, byAge)
	for _, m := range members {
		t.unsent = cmp.Or(t.unsent, signalExactly(m, sig))
	}
}

// await returns when nothing is left or at the time given. The error is ctx's.
func (t *tree) await(ctx context.Context, until time.Time) error {
	if t.leader != nil {
		limited, cancel := context.WithDeadline(ctx, until)
		defer cancel()
		_ = t.leader.Wait(limited)
	}
	for pause := 5 * time.Millisecond; time.Now().Before(until); pause = min(2*pause, 200*time.Millisecond) {
		if live, _ := t.left(); live == Gone {
			break
		}
		if err := Sleep(ctx, min(pause, time.Until(until))); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// kill sends SIGKILL until nothing is left, for as long as end. Unavailable tells that something is left, or that it can't be told.
func (t *tree) kill(ctx context.Context, end time.Time) error {
	for {
		live, why := t.left()
		if live == Gone {
			return nil
		}
		t.signal(syscall.SIGKILL)
		if time.Now().After(end) {
			return t.stays(live, why)
		}
		if err := Sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// stays is the error for what is left, or may be.
func (t *tree) stays(live Liveness, why error) error {
	switch {
	case live == Unknown:
		return cantKnow(t.handle.Nonce, why)
	case t.unsent != nil:
		return messages.Errorf(messages.Unavailable, t.handle.Nonce, "the process (pid %d) can't be signalled: %w", t.handle.Pid, t.unsent).
			WithHint("modelops must run as the user of its workers, with pidfd_send_signal in its seccomp profile; its memory is not free").WithRetry(KillTime)
	}
	return messages.Errorf(messages.Unavailable, t.handle.Nonce, "the process (pid %d) is still there %s after SIGKILL", t.handle.Pid, KillTime).
		WithHint("it hangs in the kernel, most likely in a driver: see dmesg; its memory is not free").WithRetry(KillTime)
}

// reap takes the entries of orphans that fell to us, as they do where this program is pid 1. Others' entries are not ours
// to take, and the leader is reaped by its parent.
func (t *tree) reap() {
	for pid := range t.seen {
		var status unix.WaitStatus
		_, _ = unix.Wait4(int(pid), &status, unix.WNOHANG, nil)
	}
}
