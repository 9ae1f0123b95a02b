package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"modelops/messages"
)

// lease is what `modelops lease` asks for, and the command that runs with it.
type lease struct {
	*cli
	ask     *messages.GpuLeaseRequest
	wait    time.Duration
	restore bool
	argv    []string

	held   *messages.GpuLeaseReply
	tenure tenure // of the last renewal; written by one renewal at a time
	said   string // last, on the error stream
}

func (c *cli) leaseCommand() *cobra.Command {
	l := &lease{cli: c, ask: &messages.GpuLeaseRequest{Claim: uuid.NewString()}}
	var vram string
	var ttl time.Duration
	cmd := &cobra.Command{
		Use: "lease --vram SIZE [flags] -- COMMAND [ARG...]", Args: cobra.MinimumNArgs(1),
		Short: "Run a program with device memory that is reserved for it",
		Long: "lease reserves memory of a device, runs COMMAND with CUDA_VISIBLE_DEVICES set to that device, and gives the memory back when it ends. Idle\n" +
			"models leave for it; busy ones end their turn first, and the command waits in line for up to --wait. The lease is renewed while the\n" +
			"command runs. When it can't be renewed (the daemon is gone, or the lease was ended), the command gets SIGTERM, and SIGKILL before the memory is granted to\n" +
			"another. The exit code is the command's.",
		Example: "  modelops lease --vram 10G -- python train.py\n  modelops lease --vram 6G --wait 10m --priority batch --restore -- ./render.sh",
	}
	f := cmd.Flags()
	f.StringVar(&vram, "vram", "", "memory to reserve, such as 10G or 800M")
	f.StringVar(&l.ask.Host, "host", "", "host whose device it is (default: the daemon's, on which the command runs)")
	f.DurationVar(&ttl, "ttl", 30*time.Second, "the lease ends when it isn't renewed for so long")
	f.DurationVar(&l.wait, "wait", 0, "how long to wait for memory that busy models hold")
	f.StringVar(&l.ask.Class, "priority", "", "priority class, as in queue.classes")
	f.StringVar(&l.ask.Client, "name", "", "name of the holder (default: the command's)")
	f.BoolVar(&l.restore, "restore", false, "load the models again that left for it")
	_ = cmd.MarkFlagRequired("vram")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		l.argv = args
		bytes, err := parseSize("--vram", vram)
		if err != nil {
			return err
		}
		seconds, err := wholeSeconds("--ttl", ttl, "30s is usual")
		if err == nil && (seconds < shortestTTL || seconds > math.MaxInt32) {
			err = messages.Errorf(messages.InvalidArgument, "--ttl", "%s is not a valid time to live", ttl).WithHint(fmt.Sprintf("at least %ds", shortestTTL))
		}
		if err != nil {
			return err
		}
		l.ask.VramEstimateMb, l.ask.TtlSeconds = int64((bytes+messages.MiB-1)/messages.MiB), int32(seconds)
		l.ask.Client = cmp.Or(l.ask.Client, args[0][strings.LastIndexByte(args[0], '/')+1:])
		return typed(l.run(cmd.Context()))
	}
	return cmd
}

const (
	// shortestTTL leaves time for a renewal and for ending a command.
	shortestTTL = 2
	// leaseRound is how long one question waits in line. Asking again keeps the place.
	leaseRound = 2 * time.Second
)

// run takes the lease, runs the command and gives the lease back.
func (l *lease) run(ctx context.Context) error {
	if _, err := exec.LookPath(l.argv[0]); err != nil { // before anybody leaves for it
		return messages.Errorf(messages.NotFound, l.argv[0], "the command can't be run: %w", err)
	}
	waiting, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := l.acquire(waiting)
	interrupted := waiting.Err() != nil
	stop()
	switch {
	case err != nil && interrupted:
		return quietExit(exitInterrupted)
	case err != nil:
		return err
	}
	defer l.release(ctx)
	return l.command(ctx)
}

// acquire asks until the memory is granted or the wait is over.
func (l *lease) acquire(ctx context.Context) error {
	for until := time.Now().Add(l.wait); ; {
		if left := time.Until(until); left > 0 {
			l.ask.WaitSeconds = uint32(min(left, leaseRound).Seconds()) + 1
		} else {
			l.ask.WaitSeconds = 0
		}
		sent := upTime()
		r, err := l.question(ctx)
		switch {
		case err != nil:
			return err
		case r.Granted:
			l.held, l.tenure = r, tenure{sent, time.Duration(r.TtlSeconds) * time.Second}
			l.say(fmt.Sprintf("lease %s: %s on %s", r.LeaseId, messages.FormatBytes(uint64(r.VramReservedMb)*messages.MiB), nameOf(r.Gpu)))
			return nil
		case r.NeverFits, l.ask.WaitSeconds == 0: // the last question gives up the place in line
			e := messages.Errorf(messages.GPUUnavailable, "client/"+l.ask.Client, "%s: %s", r.Reason, cmp.Or(r.WaitsFor, "other holders have it"))
			if l.wait == 0 && !r.NeverFits {
				e = e.WithHint("wait for it with --wait 10m")
			}
			return e
		case r.Position > 0:
			l.say(fmt.Sprintf("waits for memory, place %d in line: %s", r.Position, r.WaitsFor))
		default: // it was answered at once
			l.say("waits for memory: " + cmp.Or(r.WaitsFor, r.Reason))
			select {
			case <-ctx.Done():
			case <-time.After(time.Duration(r.RetryAfterMs) * time.Millisecond):
			}
		}
	}
}

func (l *lease) question(ctx context.Context) (r *messages.GpuLeaseReply, err error) {
	err = l.asked(ctx, leaseRound+longLeave, func(ctx context.Context, k *client) error {
		if l.ask.Host == "" {
			if l.ask.Host, err = k.host(ctx); err != nil {
				return err
			}
		}
		r, err = k.AcquireGpuLease(ctx, l.ask)
		return err
	})
	return r, err
}

// longLeave is how long the daemon waits for idle models to leave, and a little more.
const longLeave = 12 * time.Second

func (l *lease) say(what string) {
	if !l.quiet && what != l.said {
		fmt.Fprintln(l.stderr, what)
	}
	l.said = what
}

// command runs the command in a process group of its own, with a guard beside it.
func (l *lease) command(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	wait, begin, err := os.Pipe()
	if err != nil {
		return err
	}
	defer begin.Close()
	cmd := exec.Command(self, append([]string{"lease-exec", "--"}, l.argv...)...)
	cmd.ExtraFiles = []*os.File{wait}
	cmd.Env = append(append(os.Environ(), l.held.Env...), "MODELOPS_LEASE="+l.held.LeaseId)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = l.stdin, l.stdout, l.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if in, ok := l.stdin.(*os.File); ok && term.IsTerminal(int(in.Fd())) { // it reads the terminal, and gets its interrupts
		cmd.SysProcAttr.Foreground, cmd.SysProcAttr.Ctty = true, int(in.Fd())
	}
	err = cmd.Start()
	_ = wait.Close()
	if err != nil {
		return messages.Errorf(messages.FailedPrecondition, l.argv[0], "the command can't be started: %w", err)
	}
	guarded, err := startGuard(ctx, cmd.Process.Pid, l.tenure)
	if err == nil {
		_, err = begin.Write([]byte{'\n'})
	}
	if err != nil {
		_ = endGroup(cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		return messages.Errorf(messages.Unavailable, l.argv[0], "nothing can watch the lease, so the command was ended: %w", err)
	}
	defer guarded.in.Close()
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	fenced := l.renewUntil(ctx, cmd.Process.Pid, guarded, done)
	return l.outcome(cmd, fenced)
}

// renewUntil renews the lease until the command has ended. The error says why the lease was lost, if it was.
func (l *lease) renewUntil(ctx context.Context, group int, g *guardian, done <-chan error) (fenced error) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	renewed := make(chan error, 1)
	timer := time.NewTimer(l.tenure.renewAt() - upTime())
	defer timer.Stop()
	for {
		select {
		case <-done:
			return fenced
		case <-g.gone: // somebody ended it, or the command has ended
			select {
			case <-done:
				return fenced
			case <-time.After(guardLooks):
			}
			next, err := startGuard(ctx, group, l.tenure)
			if err != nil { // without a guard the command could outlast its lease
				_ = endGroup(group, syscall.SIGKILL)
				<-done
				return err
			}
			*g = *next
		case s := <-signals:
			_ = endGroup(group, s.(syscall.Signal))
		case <-timer.C:
			go func() { renewed <- l.renew(ctx, g) }()
		case err := <-renewed:
			next := l.tenure.renewAt() - upTime()
			if err != nil {
				fenced, next = err, min(time.Second, l.tenure.ttl/10)
				l.say("the lease can't be renewed: " + messages.AsError(err).Message)
			}
			if over(err) { // no renewal brings it back
				_ = endGroup(group, syscall.SIGTERM)
				continue
			}
			if err == nil {
				fenced = nil
			}
			timer.Reset(max(next, 50*time.Millisecond))
		}
	}
}

// over tells that a lease has ended: its owner doesn't know it, or it is another's.
func over(err error) bool {
	code := messages.CodeOf(err)
	return code == messages.NotFound || code == messages.FailedPrecondition || code == messages.PermissionDenied
}

// renew asks for another time to live, and tells the guard.
func (l *lease) renew(ctx context.Context, g *guardian) error {
	sent := upTime()
	return l.asked(ctx, max(l.tenure.ttl/renewPart, time.Second), func(ctx context.Context, k *client) error {
		r, err := k.RenewGpuLease(ctx, &messages.GpuLeaseRenewal{LeaseId: l.held.LeaseId, Epoch: l.held.Epoch})
		if err != nil {
			return err
		}
		l.tenure = tenure{sent, time.Duration(r.TtlSeconds) * time.Second}
		return g.tell(l.tenure)
	})
}

// outcome is the command's exit code, or why it was ended.
func (l *lease) outcome(cmd *exec.Cmd, fenced error) error {
	state := cmd.ProcessState
	switch status, _ := state.Sys().(syscall.WaitStatus); {
	case fenced != nil && !state.Success():
		e := messages.AsError(fenced)
		return messages.Errorf(messages.FailedPrecondition, "lease "+l.held.LeaseId, "the command was ended because its lease couldn't be renewed: %s", e.Message).WithCause(fenced)
	case state.Success():
		return nil
	case upTime() >= l.tenure.askAt(): // this program didn't run when it should have renewed the lease, so that it saw no error: the guard has ended the command
		return messages.Errorf(messages.FailedPrecondition, "lease "+l.held.LeaseId, "the command was ended because its lease wasn't renewed for %s", (upTime() - l.tenure.sent).Round(100*time.Millisecond)).
			WithHint("modelops lease renews it: don't stop or suspend that program")
	case status.Signaled():
		return quietExit(128 + int(status.Signal()))
	default:
		return quietExit(state.ExitCode())
	}
}

// release gives the memory back. What fails here ends by itself: the lease isn't renewed any more.
func (l *lease) release(ctx context.Context) {
	r := &messages.GpuLeaseRelease{LeaseId: l.held.LeaseId}
	if l.restore {
		r.Restore, r.Placement = l.held.Displaced, l.held.Placement
	}
	err := l.asked(context.WithoutCancel(ctx), shortWait, func(ctx context.Context, k *client) error {
		_, err := k.ReleaseGpuLease(ctx, r)
		return err
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		l.say("the lease can't be given back and ends by itself: " + messages.AsError(err).Message)
	}
}

// parseSize reads a size: a number with a unit of bytes, of which G stands for GiB.
func parseSize(flag, text string) (uint64, error) {
	units := map[string]uint64{"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
	number := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(strings.TrimSpace(text)), "B"), "I")
	for unit, bytes := range units {
		digits, ok := strings.CutSuffix(number, unit)
		var n float64
		if !ok {
			continue
		}
		if _, err := fmt.Sscanf(digits+"\n", "%g\n", &n); err == nil && n > 0 && n*float64(bytes) < 1<<62 {
			return uint64(n * float64(bytes)), nil
		}
	}
	return 0, messages.Errorf(messages.InvalidArgument, flag, "%q is no size", text).WithHint("write it as 10G or 800M")
}
