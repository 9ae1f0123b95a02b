package process

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Pidfd is an open reference to one process. It keeps meaning that process when the pid is given to another one.
type Pidfd struct {
	pid  int64
	file *os.File // on the netpoller, so that waiting takes no thread
}

// Close releases the descriptor. The process goes on.
func (p *Pidfd) Close() error { return p.file.Close() }

// openPidfd opens the pidfd of a process, whichever has the pid now.
func openPidfd(pid int64) (*Pidfd, error) {
	fd, err := unix.PidfdOpen(int(pid), unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	return &Pidfd{pid: pid, file: os.NewFile(uintptr(fd), "pidfd")}, nil
}

// Ended tells whether the process has ended, without waiting. A zombie has ended.
func (p *Pidfd) Ended() bool {
	conn, err := p.file.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	if err := conn.Control(func(fd uintptr) { gone = readable(int(fd)) }); err != nil {
		return true
	}
	return gone
}

// Wait returns nil when the process has ended and ctx's error when that comes first. After ctx has ended, the Pidfd can't
// be used to wait again.
func (p *Pidfd) Wait(ctx context.Context) error {
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

// readable is how a pidfd says that its process has ended.
func readable(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(p, 0)
		if err != unix.EINTR {
			return err != nil || p[0].Revents != 0
		}
	}
}

// signal reaches the process that the pidfd means, or none.
func (p *Pidfd) signal(sig syscall.Signal) error {
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

// signalExactly reaches the process with this pid and start time, or none.
func signalExactly(st stat, sig syscall.Signal) {
	p, err := openPidfd(st.pid)
	if err != nil {
		return
	}
	defer p.Close()
	if now, err := readStat(st.pid); err == nil && now.startTicks == st.startTicks {
		_ = p.signal(sig)
	}
}
