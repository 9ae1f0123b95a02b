package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ended tells whether the process has ended, without waiting. A zombie has.
func (g *grip) ended() bool {
	conn, err := g.file.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	if err := conn.Control(func(fd uintptr) { gone = readable(int(fd)) }); err != nil {
		return true
	}
	return gone
}

// wait returns nil when the process has ended and ctx's error when that comes first. The grip can't be used to wait again
// after ctx has ended.
func (g *grip) wait(ctx context.Context) error {
	conn, err := g.file.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = g.file.SetReadDeadline(time.Unix(1, 0)) })
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

// signal reaches the process that was proven, or nobody.
func (g *grip) signal(sig syscall.Signal) error {
	conn, err := g.file.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	if err := conn.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), sig, nil, 0) }); err != nil {
		return err
	}
	return sent
}

// foreignStatus learns the wait status of a process that isn't our child, after its end: from its entry while nobody has
// reaped it, else from the pidfd (kernel 6.15). False when neither tells.
func (g *grip) foreignStatus(startTicks uint64) (syscall.WaitStatus, bool) {
	for range 10 {
		if status, ok := g.pidfdStatus(); ok {
			return status, true
		}
		if status, ok := zombieStatus(g.pid, startTicks); ok {
			return status, true
		}
		time.Sleep(5 * time.Millisecond)
	}
	return 0, false
}

// zombieStatus reads the status from the entry of a process that has ended and that nobody has reaped.
func zombieStatus(pid int64, startTicks uint64) (syscall.WaitStatus, bool) {
	s, err := readStat(pid)
	if err != nil || s.startTicks != startTicks || !s.dead() {
		return 0, false
	}
	return syscall.WaitStatus(s.exitStatus), true
}

// pidfdInfo is struct pidfd_info of the kernel, 64 bytes.
type pidfdInfo struct {
	mask, cgroup uint64
	ids          [11]uint32
	exitCode     int32
}

// pidfdStatus asks the kernel with PIDFD_GET_INFO; it answers once the process was reaped.
func (g *grip) pidfdStatus() (syscall.WaitStatus, bool) {
	const wantExit = 1 << 3
	const request = 3<<30 | 64<<16 | 0xFF<<8 | 11
	info := pidfdInfo{mask: wantExit}
	conn, err := g.file.SyscallConn()
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

// exitOf puts a wait status in words.
func exitOf(status syscall.WaitStatus) Exit {
	if status.Signaled() {
		sig := status.Signal()
		reason := fmt.Sprintf("ended by signal %d (%s)", int(sig), unix.SignalName(sig))
		if sig == syscall.SIGKILL {
			reason += "; the kernel does so when memory runs out"
		}
		return Exit{Code: 128 + int32(sig), Reason: reason}
	}
	return Exit{Code: int32(status.ExitStatus()), Reason: fmt.Sprintf("exit code %d", status.ExitStatus())}
}
