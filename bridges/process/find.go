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
	h, live, err := s.living(nonce)
	if ctx.Err() != nil {
		return Handle{}, Unknown, ctx.Err()
	}
	return h, live, err
}

// living is the running process with this nonce, its handle rebuilt from its environment. What a dead one left behind is
// killed: it would hold memory and compete with the next process. The caller holds s.mu.
func (s *Supervisor) living(nonce string) (Handle, Liveness, error) {
	leader, others, err := findByNonce(nonce)
	if leader == nil {
		for _, o := range others {
			err = cmp.Or(err, s.killLeft(o))
		}
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
	return h, Alive, nil
}

// findByNonce looks for the living process with this nonce: the leader of a process group that leads no session. Others
// that carry the nonce are its descendants. err tells that some process could not be looked at for lack of means.
func findByNonce(nonce string) (leader *stat, others []stat, err error) {
	all, err := processes()
	slices.SortFunc(all, byAge)
	for _, st := range all {
		if st.dead() || st.pid == int64(os.Getpid()) {
			continue
		}
		env, unread := environ(st.pid)
		if Starved(unread) {
			err = cmp.Or(err, unread)
		}
		if variable(env, nonceVar) != nonce {
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
		if Starved(unread) {
			err = cmp.Or(err, unread)
		}
		if variable(env, ownerVar) == s.owner {
			out = append(out, Handle{Pid: st.pid, StartTicks: st.startTicks, BootID: boot, Nonce: variable(env, nonceVar),
				LogPath: variable(env, logVar), Fingerprint: variable(env, fingerprintVar)})
		}
	}
	return out, err
}

// Starved tells whether a read failed for lack of means, and would succeed with more of them. Other failures say that the
// process ended meanwhile, or belongs to another user and therefore was not started here.
func Starved(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}

// killLeft kills what a dead process left behind.
func (s *Supervisor) killLeft(st stat) error {
	s.log.Warn("a child of a dead process is killed", "pid", st.pid)
	return signalExactly(st, syscall.SIGKILL)
}
