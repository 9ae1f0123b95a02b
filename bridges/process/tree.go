package process

import (
	"context"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tree is a process with all that it started. It is looked up each time, and remembers the members that it has seen: a
// process whose parent has died is no longer found by its parent.
type tree struct {
	handle Handle
	leader *Pidfd // nil when the process itself is gone
	seen   map[int64]uint64
}

// treeOf looks the process up. The caller closes the leader, if there is one.
func (s *Supervisor) treeOf(h Handle) *tree {
	t := &tree{handle: h, seen: map[int64]uint64{}}
	t.leader, _, _ = s.Open(h)
	return t
}

// members are the descendants, those in the process group, and those that carry the nonce; each younger than the process
// itself, which is not among them. Descent and group count only while the process itself is alive, or when they were seen
// then.
func (t *tree) members() []stat {
	all, _ := processes()
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
		known := t.seen[st.pid] == st.startTicks && st.startTicks > 0
		inGroup := leading && st.group == t.handle.Pid
		if known || inGroup || below[st.pid] || Variable(st.pid, nonceVar) == t.handle.Nonce {
			t.seen[st.pid] = st.startTicks
			out = append(out, st)
		}
	}
	return out
}

// alive tells whether anything of the tree is left.
func (t *tree) alive() bool {
	return t.leader != nil && !t.leader.Ended() || len(t.members()) > 0
}

// signal sends to each process that is left, oldest first, each by its pidfd.
func (t *tree) signal(sig syscall.Signal) {
	members := t.members()
	if t.leader != nil && !t.leader.Ended() {
		_ = t.leader.signal(sig)
	}
	slices.SortFunc(members, byAge)
	for _, m := range members {
		signalExactly(m, sig)
	}
}

// await returns when nothing is left or at the time given. The error is ctx's.
func (t *tree) await(ctx context.Context, until time.Time) error {
	if t.leader != nil {
		limited, cancel := context.WithDeadline(ctx, until)
		defer cancel()
		_ = t.leader.Wait(limited)
	}
	for pause := 5 * time.Millisecond; t.alive() && time.Now().Before(until); pause = min(2*pause, 200*time.Millisecond) {
		if err := Sleep(ctx, min(pause, time.Until(until))); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// reap takes the entries of orphans that fell to us, as they do where this program is pid 1. Others' entries are not ours
// to take, and the leader is reaped by its parent.
func (t *tree) reap() {
	for pid := range t.seen {
		var status unix.WaitStatus
		_, _ = unix.Wait4(int(pid), &status, unix.WNOHANG, nil)
	}
}
