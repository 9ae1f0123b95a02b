package process

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Hold is a hold on one process. It keeps meaning that process when the pid is given to another one: a child of ours keeps its pid until we
// reap it, and needs no descriptor; any other process is held by a pidfd.
type Hold struct {
	pid   int64
	child *child   // nil when another program started it
	file  *os.File // the pidfd, on the netpoller, so that waiting takes no thread; nil for a child
}

// Close releases the hold. The process goes on.
func (p *Hold) Close() error {
	if p.file == nil {
		return nil
	}
	return p.file.Close()
}

// openPidfd takes hold of a process by its pidfd, whichever has the pid now.
func openPidfd(pid int64) (*Hold, error) {
	fd, err := unix.PidfdOpen(int(pid), unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	return &Hold{pid: pid, file: os.NewFile(uintptr(fd), "pidfd")}, nil
}

// Ended tells whether the process has ended, without waiting. A zombie has ended, unless it is a child that is not reaped yet.
func (p *Hold) Ended() bool {
	if p.child != nil {
		return p.child.ended()
	}
	conn, err := p.file.SyscallConn()
	if err != nil {
		return false
	}
	gone := false
	if err := conn.Control(func(fd uintptr) { gone = readable(int(fd)) }); err != nil {
		return false
	}
	return gone
}

// Wait returns nil when the process has ended and ctx's error when that comes first. After ctx has ended, the Hold can't
// be used to wait again.
func (p *Hold) Wait(ctx context.Context) error {
	if p.child != nil {
		return p.child.await(ctx)
	}
	conn, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = p.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	err = conn.Read(func(fd uintptr) bool { return readable(int(fd)) })
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, os.ErrClosed):
		return context.Canceled
	}
	return err
}

// readable is how a pidfd says that its process has ended. The kernel refuses to poll more descriptors than the limit on open files (EINVAL),
// also when the limit was lowered after they were opened: then only the wait for a child tells.
func readable(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(p, 0)
		switch err {
		case nil:
			return p[0].Revents != 0
		case unix.EINTR:
			continue
		}
		var ended unix.Siginfo
		err = unix.Waitid(unix.P_PIDFD, fd, &ended, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		return err == nil && ended.Signo != 0
	}
}

// signal reaches the process that is held, or none.
func (p *Hold) signal(sig syscall.Signal) error {
	if p.child != nil {
		return p.child.signal(sig)
	}
	conn, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	if err := conn.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), sig, nil, 0) }); err != nil {
		return err
	}
	return sent
}

// unlessEnded is a signal's error, nil when the process has ended meanwhile.
func unlessEnded(err error) error {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// signalExactly reaches the process with this pid and start time, or none. The error says why a process that may live was not signalled.
func signalExactly(st stat, sig syscall.Signal) error {
	p, err := openPidfd(st.pid)
	if err != nil {
		if whenMissing(err) == Gone {
			return nil
		}
		return err
	}
	defer p.Close()
	now, err := readStat(st.pid)
	switch {
	case err != nil && whenMissing(err) == Gone, err == nil && now.startTicks != st.startTicks:
		return nil
	case err != nil:
		return err
	}
	return unlessEnded(p.signal(sig))
}
