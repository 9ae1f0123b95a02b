package process

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// orphanCheck is how often dead orphans are looked for.
	orphanCheck = time.Second
	// orphanAge is how many looks a dead child is left to the code that started it here.
	orphanAge = 3
)

// ReapOrphans takes the entries of dead processes that fell to this program because their parents have ended, until ctx ends. It is for a
// program that is process 1, of a container for example: nobody else takes them, and they use up the process table. Children that this program
// started are left to their own wait: those of the Supervisor by name, others because they are reaped long before an orphan's time.
func (s *Supervisor) ReapOrphans(ctx context.Context) {
	seen := map[int64]orphan{}
	for Sleep(ctx, orphanCheck) == nil {
		seen = s.reapOrphans(seen)
	}
}

// orphan is a dead child that may be nobody's.
type orphan struct {
	startTicks uint64
	looks      int
}

func (s *Supervisor) reapOrphans(seen map[int64]orphan) map[int64]orphan {
	all, _ := processes()
	own := s.unreaped()
	next := map[int64]orphan{}
	for _, st := range all {
		if st.parent != int64(os.Getpid()) || !st.dead() || own[st.pid] {
			continue
		}
		o := seen[st.pid]
		if o.startTicks != st.startTicks {
			o = orphan{startTicks: st.startTicks}
		}
		if o.looks++; o.looks < orphanAge {
			next[st.pid] = o
			continue
		}
		var status unix.WaitStatus
		_, _ = unix.Wait4(int(st.pid), &status, unix.WNOHANG, nil)
	}
	return next
}

// unreaped are the pids of the children that this Supervisor waits for.
func (s *Supervisor) unreaped() map[int64]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[int64]bool{}
	for _, c := range s.children {
		if !c.ended() {
			out[c.handle.Pid] = true
		}
	}
	return out
}
