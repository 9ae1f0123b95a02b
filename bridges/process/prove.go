package process

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"modelops/messages"
)

// Liveness is what can be said of a process. The zero value is Unknown.
type Liveness uint8

// The three answers to a proof. Unknown is never to be taken for Gone: the process may live and hold its memory.
const (
	Unknown Liveness = iota // it can't be told: no descriptor is left, or /proc can't be read
	Alive                   // the process that the handle means is running
	Gone                    // it has ended
)

// String is the answer in one word.
func (l Liveness) String() string {
	switch l {
	case Alive:
		return "alive"
	case Gone:
		return "gone"
	}
	return "unknown"
}

// Prove tells whether the process that a handle means is running. The error says why it is not Alive, nil when it is.
func (s *Supervisor) Prove(h Handle) (Liveness, error) {
	p, live, err := s.Open(h)
	if p != nil {
		p.Close()
	}
	return live, err
}

// Open takes hold of the process that a handle means; the caller closes it. Unless the process is Alive there is no Hold,
// and the error says why.
//
// The order matters: only what is compared after the pidfd was opened speaks of the process that the pidfd means.
func (s *Supervisor) Open(h Handle) (*Hold, Liveness, error) {
	if h.Pid <= 1 || h.Nonce == "" {
		return nil, Gone, fmt.Errorf("the record names no process: pid %d", h.Pid)
	}
	if c := s.childOf(h); c != nil { // it keeps its pid until we reap it, so it needs no other proof
		if c.ended() {
			return nil, Gone, fmt.Errorf("pid %d has ended", h.Pid)
		}
		return &Hold{pid: h.Pid, child: c}, Alive, nil
	}
	if live, err := s.sameBoot(h); live != Alive {
		return nil, live, err
	}
	p, err := openPidfd(h.Pid)
	if err != nil {
		return nil, whenMissing(err), fmt.Errorf("pid %d: %w", h.Pid, err)
	}
	live, err := matches(p, h)
	if live == Alive {
		live, err = s.carries(h)
	}
	if live != Alive {
		p.Close()
		return nil, live, err
	}
	return p, Alive, nil
}

// sameBoot tells whether the kernel still runs under which the handle's process was started: its process is Gone with it.
func (s *Supervisor) sameBoot(h Handle) (Liveness, error) {
	now, err := s.bootID()
	switch {
	case err != nil:
		return Unknown, fmt.Errorf("the kernel's boot id can't be read: %w", err)
	case h.BootID != now:
		return Gone, fmt.Errorf("the machine was started again since (kernel boot %s, now %s)", h.BootID, now)
	}
	return Alive, nil
}

// cantKnow is the error for a process of which it can't be told whether it lives. The caller asks again later.
func cantKnow(nonce string, why error) *messages.Error {
	e := messages.Errorf(messages.Unavailable, nonce, "it can't be told whether the process lives: %w", why).WithRetry(unknownPause)
	switch {
	case Starved(why):
		return e.WithHint("this program has no descriptors left: raise its limit on open files (ulimit -n, LimitNOFILE)")
	case isHidden(why):
		return e.WithHint("a process that changed its user or made itself undumpable, or a /proc with hidepid: end it by hand (fuser -v on that file shows it to root), " +
			"or run modelops as a user that sees it; it is tried again")
	case errors.Is(why, unix.EPERM), errors.Is(why, unix.ENOSYS), errors.Is(why, unix.EACCES):
		return e.WithHint("modelops needs Linux 5.3, a /proc that shows its own processes, and pidfd_open and pidfd_send_signal in its seccomp profile")
	}
	return e.WithHint("it is tried again")
}

// unknownPause is the longest pause before a process is looked at again that could not be looked at.
const unknownPause = time.Second

// whenMissing tells what a failed look at a pid says of its process. EINVAL is the kernel's answer for the id of a thread.
func whenMissing(err error) Liveness {
	for _, gone := range []error{fs.ErrNotExist, unix.ESRCH, unix.EINVAL} {
		if errors.Is(err, gone) {
			return Gone
		}
	}
	return Unknown
}

// matches compares pid and start time.
func matches(p *Hold, h Handle) (Liveness, error) {
	st, err := readStat(h.Pid)
	switch {
	case err != nil && !p.Ended():
		return Unknown, fmt.Errorf("pid %d: %w", h.Pid, err) // its entry is hidden from us (hidepid)
	case err != nil:
		return Gone, fmt.Errorf("pid %d: %w", h.Pid, err)
	case st.startTicks != h.StartTicks:
		return Gone, fmt.Errorf("pid %d is another process now: started at tick %d, ours at %d", h.Pid, st.startTicks, h.StartTicks)
	case st.dead():
		return Gone, fmt.Errorf("pid %d has ended", h.Pid)
	}
	return Alive, nil
}

// carries tells whether a process has the nonce. Programs that rename themselves overwrite their environment; they are
// known by their output, which goes to a log file that belongs to one nonce. A process that hides both is known by the lock on that log: pid and
// start time are compared already.
func (s *Supervisor) carries(h Handle) (Liveness, error) {
	env, envErr := environ(h.Pid)
	switch got := variable(env, nonceVar); {
	case got == h.Nonce:
		return Alive, nil
	case got != "":
		return Gone, fmt.Errorf("pid %d carries another nonce", h.Pid)
	}
	logs, failed := s.logsOf(h.Nonce, h.LogPath)
	is, outErr := writesTo(h.Pid, logs)
	if is {
		return Alive, nil
	}
	if outErr != nil && whenMissing(outErr) == Unknown {
		if held, err := stillWritten(logs); len(held) > 0 && err == nil {
			return Alive, nil
		}
	}
	return unlessUnread(h, envErr, outErr, failed)
}

// unlessUnread is Gone for a process in which no nonce was seen, and Unknown when it could not be looked at.
func unlessUnread(h Handle, unread ...error) (Liveness, error) {
	for _, err := range unread {
		if err != nil && whenMissing(err) == Unknown {
			return Unknown, fmt.Errorf("pid %d can't be looked at: %w", h.Pid, err)
		}
	}
	return Gone, fmt.Errorf("pid %d carries no nonce", h.Pid)
}
