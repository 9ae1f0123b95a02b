package runtime

import (
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
	"modelops/messages"
)

// The names that travel in a worker's environment. With them a coordinator that lost its memory finds a worker again.
const (
	nonceVar = "MODELOPS_NONCE"
	modelVar = "MODELOPS_MODEL"
	portVar  = "MODELOPS_PORT"
	urlVar   = "MODELOPS_URL"
	logVar   = "MODELOPS_LOG"
	printVar = "MODELOPS_FINGERPRINT"
)

// grip holds a process that proved who it is. The pidfd keeps meaning that process even when the pid is given to another.
type grip struct {
	pid  int64
	file *os.File // a pidfd on the netpoller: waiting on it takes no thread
}

func (g *grip) Close() error { return g.file.Close() }

// openGrip opens the pidfd of a process, whoever it is.
func openGrip(pid int64) (*grip, error) {
	fd, err := unix.PidfdOpen(int(pid), unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	return &grip{pid: pid, file: os.NewFile(uintptr(fd), "pidfd")}, nil
}

// prove takes hold of a worker, or tells why the process that has its pid is not it. The order matters: only what is
// compared after the pidfd was opened speaks about the process that the pidfd means.
func (r *Runtime) prove(w *messages.Worker) (*grip, error) {
	if w.Pid <= 1 || w.Nonce == "" {
		return nil, fmt.Errorf("the record names no process: pid %d", w.Pid)
	}
	if w.KernelBootId != r.bootID {
		return nil, fmt.Errorf("the machine was started again since (kernel boot %s, now %s)", w.KernelBootId, r.bootID)
	}
	g, err := openGrip(w.Pid)
	if err != nil {
		return nil, fmt.Errorf("pid %d: %w", w.Pid, err)
	}
	if err := matches(w); err != nil {
		g.Close()
		return nil, err
	}
	if r.childOf(w) != nil { // not reaped yet, as it has not ended: nobody else can have its pid
		return g, nil
	}
	if err := carries(w.Pid, w.Nonce, w.LogPath); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// matches compares pid and start time.
func matches(w *messages.Worker) error {
	s, err := readStat(w.Pid)
	switch {
	case err != nil:
		return fmt.Errorf("pid %d: %w", w.Pid, err)
	case s.startTicks != w.StartTicks:
		return fmt.Errorf("pid %d is another process now: started at tick %d, the worker at %d", w.Pid, s.startTicks, w.StartTicks)
	case s.dead():
		return fmt.Errorf("pid %d has ended", w.Pid)
	}
	return nil
}

// carries tells whether a process has the nonce. Programs that rename themselves overwrite their environment; they show
// themselves by their output, which goes to a log file that belongs to one nonce.
func carries(pid int64, nonce, logPath string) error {
	switch got := environOf(pid, nonceVar); {
	case got == nonce:
		return nil
	case got != "":
		return fmt.Errorf("pid %d carries another nonce", pid)
	case logPath != "" && slices.Contains(outputOf(pid), logPath):
		return nil
	}
	return fmt.Errorf("pid %d carries no nonce", pid)
}

// findByNonce looks for the living worker with this nonce: the leader of a group that is not of a session. Others that
// carry the nonce are what it left behind.
func findByNonce(nonce string) (leader *stat, others []stat) {
	all := processes()
	slices.SortFunc(all, func(a, b stat) int { return int(int64(a.startTicks) - int64(b.startTicks)) })
	for _, s := range all {
		if s.dead() || environOf(s.pid, nonceVar) != nonce || s.pid == int64(os.Getpid()) {
			continue
		}
		if leader == nil && s.group == s.pid && s.session != s.pid {
			leader = &s
			continue
		}
		others = append(others, s)
	}
	return leader, others
}
