package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"modelops/messages"
)

// A guard is a process of its own that ends a command whose lease isn't renewed. It stands outside the session of `modelops lease`, so that
// whatever stops or kills that program doesn't stop the guard.

// guardCommand runs the guard. Its input has a line "SENT TTL" for each renewal that was granted, in nanoseconds; it ends with the command.
func (c *cli) guardCommand() *cobra.Command {
	return &cobra.Command{
		Use: "lease-guard GROUP", Hidden: true, Args: cobra.ExactArgs(1),
		Short: "End a process group when the lease that it runs under isn't renewed",
		RunE: func(_ *cobra.Command, args []string) error {
			group, err := strconv.Atoi(args[0])
			if err != nil || group <= 1 {
				return messages.NewError(messages.InvalidArgument, args[0], "it is no process group")
			}
			return typed(guard(group, c.stdin))
		},
	}
}

// leaseExecCommand becomes the command of a lease once its guard is there: a holder that is killed between the two would leave a command that nothing ends.
func (c *cli) leaseExecCommand() *cobra.Command {
	return &cobra.Command{
		Use: "lease-exec COMMAND [ARG...]", Hidden: true, Args: cobra.MinimumNArgs(1),
		Short: "Run a command as soon as its lease is guarded",
		RunE: func(_ *cobra.Command, argv []string) error {
			begin := os.NewFile(3, "begin")
			if _, err := begin.Read(make([]byte, 1)); err != nil { // the holder has ended
				return quietExit(exitInterrupted)
			}
			_ = begin.Close()
			path, err := exec.LookPath(argv[0])
			if err == nil {
				err = syscall.Exec(path, argv, os.Environ())
			}
			return typed(messages.Errorf(messages.FailedPrecondition, argv[0], "the command can't be started: %w", err))
		},
	}
}

// guard ends a group when the last renewal that it read is too old. The end of its input is no reason to stop: the holder may have been killed.
func guard(group int, in io.Reader) error {
	leader, err := unix.PidfdOpen(group, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return messages.Errorf(messages.Unavailable, "process "+strconv.Itoa(group), "it can't be watched: %w", err)
	}
	defer unix.Close(leader)
	renewals, over := make(chan tenure), make(chan struct{})
	defer close(over)
	go readRenewals(in, renewals, over)
	t, told := <-renewals
	if !told {
		return messages.NewError(messages.InvalidArgument, "lease-guard", "it was told no renewal")
	}
	for asked := false; ; {
		next := t.askAt()
		if asked {
			next = t.killAt()
		}
		select {
		case later, more := <-renewals:
			if !more {
				renewals = nil
				continue
			}
			t, asked = later, false
			continue
		default:
		}
		if left := next - upTime(); left > 0 {
			if ended(leader, min(left, guardLooks)) {
				return nil
			}
			continue
		}
		if asked {
			return endGroup(group, unix.SIGKILL)
		}
		asked = true
		if err := endGroup(group, unix.SIGTERM); err != nil {
			return err
		}
		_ = endGroup(group, unix.SIGCONT) // a stopped command takes the signal too
	}
}

// guardLooks is how long the guard waits before it reads renewals again.
const guardLooks = 100 * time.Millisecond

// ended waits for the end of a process for a time.
func ended(pidfd int, wait time.Duration) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, max(int(wait.Milliseconds()), 1))
	return err == nil && n > 0
}

func endGroup(group int, s unix.Signal) error {
	if err := unix.Kill(-group, s); err != nil && !errors.Is(err, unix.ESRCH) {
		return messages.Errorf(messages.Internal, "process group "+strconv.Itoa(group), "it can't be ended: %w", err)
	}
	return nil
}

func readRenewals(in io.Reader, out chan<- tenure, over <-chan struct{}) {
	defer close(out)
	for lines := bufio.NewScanner(in); lines.Scan(); {
		var t tenure
		if _, err := fmt.Sscan(lines.Text(), &t.sent, &t.ttl); err == nil {
			select {
			case out <- t:
			case <-over:
				return
			}
		}
	}
}

func (t tenure) line() string { return fmt.Sprintln(int64(t.sent), int64(t.ttl)) }

// startGuard starts the guard of a process group, and tells it the first renewal.
func startGuard(ctx context.Context, group int, t tenure) (*guardian, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, "lease-guard", strconv.Itoa(group))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	g := &guardian{in: in, gone: make(chan struct{})}
	go func() { defer close(g.gone); _ = cmd.Wait() }()
	return g, g.tell(t)
}

// guardian is a guard that runs.
type guardian struct {
	in   io.WriteCloser
	gone chan struct{}
}

func (g *guardian) tell(t tenure) error {
	_, err := io.Copy(g.in, strings.NewReader(t.line()))
	return err
}
