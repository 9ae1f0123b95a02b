package process

import (
	"context"
	"fmt"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Exit is how a process ended.
type Exit struct {
	Code    int32    // the exit code, 128+N after signal N, -1 when it can't be learnt
	Reason  string   // the same in words, for people; no decision depends on it
	LogTail []string // the last lines of its log, oldest first
	// Unwitnessed: the process was gone, or did not prove itself, when it was first looked at. It may have ended at any time.
	Unwitnessed bool
}

// Killed is the code of an Exit after SIGKILL, by which the kernel ends a process when the machine's memory runs out.
const Killed = 128 + int32(syscall.SIGKILL)

// TailLines is how many lines of a log go with an Exit.
const TailLines = 40

// unwitnessed is the Exit of a process that did not prove itself.
func unwitnessed(h Handle, why error) Exit {
	return Exit{Code: -1, Reason: "gone: " + why.Error(), LogTail: Tail(h.LogPath, TailLines), Unwitnessed: true}
}

// ofStatus puts a wait status in words.
func ofStatus(status syscall.WaitStatus, h Handle) Exit {
	tail := Tail(h.LogPath, TailLines)
	if !status.Signaled() {
		return Exit{Code: int32(status.ExitStatus()), Reason: fmt.Sprintf("exit code %d", status.ExitStatus()), LogTail: tail}
	}
	sig := status.Signal()
	reason := fmt.Sprintf("ended by signal %d (%s)", int(sig), unix.SignalName(sig))
	if sig == syscall.SIGKILL {
		reason += "; the kernel does so when memory runs out"
	}
	return Exit{Code: 128 + int32(sig), Reason: reason, LogTail: tail}
}

// exit is how a reaped child ended.
func (c *child) exit() Exit {
	if status, ok := c.state.Sys().(syscall.WaitStatus); ok {
		return ofStatus(status, c.handle)
	}
	return Exit{Code: -1, Reason: "ended; the exit code is unknown", LogTail: Tail(c.handle.LogPath, TailLines)}
}

// exit is how a process ended that another program had started.
func (p *Hold) exit(h Handle) Exit {
	if status, ok := p.foreignStatus(h.StartTicks); ok {
		return ofStatus(status, h)
	}
	return Exit{Code: -1, Reason: "ended; the exit code is unknown, as it was not our child", LogTail: Tail(h.LogPath, TailLines)}
}

// Ended tells how a process ended that is not running any more, as far as that can still be learnt. why is what Open or
// Prove answered, nil when the end was seen. It waits for a child to be reaped; the error is ctx's.
func (s *Supervisor) Ended(ctx context.Context, h Handle, why error) (Exit, error) {
	if c := s.childOf(h); c != nil {
		select {
		case <-c.done:
			return c.exit(), nil
		case <-ctx.Done():
			return Exit{}, ctx.Err()
		}
	}
	if status, ok := zombieStatus(h.Pid, h.StartTicks); ok && s.isBoot(h.BootID) {
		return ofStatus(status, h), nil
	}
	if why != nil {
		return unwitnessed(h, why), nil
	}
	return Exit{Code: -1, Reason: "ended; the exit code is unknown", LogTail: Tail(h.LogPath, TailLines)}, nil
}

// isBoot tells whether the running kernel has this boot id.
func (s *Supervisor) isBoot(id string) bool {
	now, err := s.bootID()
	return err == nil && id == now
}

// foreignStatus learns the wait status of a process that is not our child, after its end: from its entry while it is not
// reaped, else from the pidfd (kernel 6.15). False when neither tells.
func (p *Hold) foreignStatus(startTicks uint64) (syscall.WaitStatus, bool) {
	for range 10 {
		if status, ok := p.pidfdStatus(); ok {
			return status, true
		}
		if status, ok := zombieStatus(p.pid, startTicks); ok {
			return status, true
		}
		time.Sleep(5 * time.Millisecond)
	}
	return 0, false
}

// zombieStatus reads the status from the entry of a process that has ended and is not reaped.
func zombieStatus(pid int64, startTicks uint64) (syscall.WaitStatus, bool) {
	st, err := readStat(pid)
	if err != nil || st.startTicks != startTicks || !st.dead() {
		return 0, false
	}
	return syscall.WaitStatus(st.exitStatus), true
}

// pidfdInfo is struct pidfd_info of the kernel, 64 bytes.
type pidfdInfo struct {
	mask, cgroup uint64
	ids          [11]uint32
	exitCode     int32
}

// pidfdStatus asks the kernel with PIDFD_GET_INFO, which answers once the process was reaped.
func (p *Hold) pidfdStatus() (syscall.WaitStatus, bool) {
	const wantExit = 1 << 3
	const request = 3<<30 | 64<<16 | 0xFF<<8 | 11
	info := pidfdInfo{mask: wantExit}
	conn, err := p.file.SyscallConn()
	if err != nil {
		return 0, false
	}
	var errno syscall.Errno
	err = conn.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(unsafe.Pointer(&info)))
	})
	if err != nil || errno != 0 || info.mask&wantExit == 0 {
		return 0, false
	}
	return syscall.WaitStatus(info.exitCode), true
}
