package process

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// Find looks for the living process with this nonce. It never runs in the middle of a Start of the same Supervisor.
// What a dead process with the nonce left behind is killed on the way. Gone means that no process carries the nonce;
// Unknown comes with the reason why the processes could not all be looked at, or with ctx's error.
func (s *Supervisor) Find(ctx context.Context, nonce string) (Handle, Liveness, error) {
	if nonce == "" {
		return Handle{}, Gone, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h, live, err := s.living(nonce, "")
	if ctx.Err() != nil {
		return Handle{}, Unknown, ctx.Err()
	}
	return h, live, err
}

// living is the running process with this nonce, its handle rebuilt from its environment. What a dead one left behind is
// killed: it would hold memory and compete with the next process. The caller holds s.mu. log is a log of the nonce, "" when only Logs knows.
func (s *Supervisor) living(nonce, log string) (Handle, Liveness, error) {
	if c := s.children[nonce]; c != nil && !c.ended() && c.handle.StartTicks == 0 {
		return Handle{}, Unknown, hidden{c.handle.LogPath} // it was started, and could be neither looked at nor ended
	}
	logs, err := s.logsOf(nonce, log)
	if err != nil {
		return Handle{}, Unknown, err
	}
	leader, others, err := findByNonce(nonce, logs)
	if leader == nil {
		for _, o := range others {
			err = cmp.Or(err, s.killLeft(o))
		}
		err = cmp.Or(err, s.killHolders(logs))
		if err != nil {
			return Handle{}, Unknown, err
		}
		return Handle{}, Gone, nil
	}
	boot, unread := s.bootID()
	if unread != nil {
		return Handle{}, Unknown, unread
	}
	h := Handle{Pid: leader.pid, StartTicks: leader.startTicks, BootID: boot, Nonce: nonce}
	h.LogPath, h.Fingerprint = Variable(h.Pid, logVar), Variable(h.Pid, fingerprintVar)
	if held, _ := anyWritten(logs); h.LogPath == "" && len(held) > 0 {
		h.LogPath = held[0]
	}
	return h, Alive, nil
}

// findByNonce looks for the living process with this nonce: the leader of a process group that leads no session. Others
// that carry the nonce, or write to one of its logs, are its descendants. err tells that some process could not be looked at for lack of means.
func findByNonce(nonce string, logs []string) (leader *stat, others []stat, err error) {
	held, err := anyWritten(logs)
	all, unlisted := processes()
	err = cmp.Or(err, unlisted)
	slices.SortFunc(all, byAge)
	for _, st := range all {
		if st.dead() || st.pid == int64(os.Getpid()) {
			continue
		}
		is, unread := belongs(st.pid, nonce, held)
		err = cmp.Or(err, unread)
		if !is {
			continue
		}
		if leader == nil && st.group == st.pid && st.session != st.pid {
			leader = &st
			continue
		}
		others = append(others, st)
	}
	return leader, others, err
}

// belongs tells whether a process carries the nonce, or writes to one of its logs; held are those that any process writes to. The error tells
// that means are lacking to look.
func belongs(pid int64, nonce string, held []string) (bool, error) {
	env, unread := environ(pid)
	switch got := variable(env, nonceVar); {
	case got == nonce:
		return true, nil
	case got != "", len(held) == 0:
		return false, onlyStarved(unread)
	}
	is, unseen := writesTo(pid, held)
	return is, cmp.Or(onlyStarved(unread), onlyStarved(unseen))
}

// Owned lists the living processes that carry this Supervisor's owner: those that it started, and those of its earlier lives. The error tells
// that the list may not be whole.
func (s *Supervisor) Owned() ([]Handle, error) {
	if s.owner == "" {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	boot, err := s.bootID()
	if err != nil {
		return nil, err
	}
	all, err := processes()
	var out []Handle
	for _, st := range all {
		if st.dead() || st.pid == int64(os.Getpid()) || st.group != st.pid || st.session == st.pid {
			continue
		}
		env, unread := environ(st.pid)
		err = cmp.Or(err, onlyStarved(unread))
		if variable(env, ownerVar) == s.owner {
			out = append(out, Handle{Pid: st.pid, StartTicks: st.startTicks, BootID: boot, Nonce: variable(env, nonceVar),
				LogPath: variable(env, logVar), Fingerprint: variable(env, fingerprintVar)})
		}
	}
	more, unseen := s.writers(boot, all, out)
	return append(out, more...), cmp.Or(err, unseen)
}

// writers are the owners of logs that a process writes to and that none of those found has as its log. One that can't be looked at has pid 0: it is
// known by its log alone, and Stop says that it can't be ended.
func (s *Supervisor) writers(boot string, all []stat, found []Handle) (out []Handle, err error) {
	logs, err := s.logs.all()
	for _, path := range logs {
		if slices.ContainsFunc(found, func(h Handle) bool { return h.Nonce == nonceOf(path) }) {
			continue
		}
		held, unread := stillWritten([]string{path})
		err = cmp.Or(err, unread)
		if len(held) == 0 {
			continue
		}
		h := Handle{BootID: boot, Nonce: nonceOf(path), LogPath: path}
		left, unseen := holders(all, held)
		err = cmp.Or(err, unseen)
		for _, st := range left {
			if st.group == st.pid && st.session != st.pid {
				h.Pid, h.StartTicks = st.pid, st.startTicks
				break
			}
		}
		out = append(out, h)
	}
	return out, err
}

// Starved tells whether a read failed for lack of means, and would succeed with more of them. Other failures say that the
// process ended meanwhile, or belongs to another user and therefore was not started here.
func Starved(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}

// killHolders kills what still writes to the logs of a dead process. The error tells that something may be left.
func (s *Supervisor) killHolders(logs []string) error {
	held, err := stillWritten(logs)
	if len(held) == 0 {
		return err
	}
	all, unlisted := processes()
	left, unseen := leftBehind(all, held)
	err = cmp.Or(err, unlisted, unseen)
	for _, st := range left {
		err = cmp.Or(err, s.killLeft(st))
	}
	if held, unread := stillWritten(held); err == nil && len(held) > 0 {
		return cmp.Or(unread, error(hidden{held[0]}))
	}
	return err
}

// killLeft kills what a dead process left behind.
func (s *Supervisor) killLeft(st stat) error {
	s.log.Warn("a child of a dead process is killed", "pid", st.pid)
	return signalExactly(st, syscall.SIGKILL)
}
