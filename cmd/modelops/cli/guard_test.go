package cli

import (
	"errors"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"modelops/messages"
)

// sleeper is a command in a group of its own; stubborn ones ignore SIGTERM.
func sleeper(t *testing.T, script string) (group int, done <-chan error) {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	ready, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	return cmd.Process.Pid, ended
}

// A command whose lease isn't renewed is ended, also one that ignores the request, one that is stopped, and when the holder is gone.
func TestTheGuardEndsACommand(t *testing.T) {
	for name, script := range map[string]string{
		"it obeys":      "echo ready; sleep 60 & wait",
		"it is deaf":    "trap '' TERM; echo ready; while :; do sleep 0.1; done",
		"it is stopped": "(sleep 0.2; kill -STOP $$) & echo ready; sleep 60",
	} {
		t.Run(name, func(t *testing.T) {
			group, done := sleeper(t, script)
			last := tenure{upTime() - 500*time.Millisecond, time.Second} // asked to end at once, killed in 0.4 s
			if err := guard(group, strings.NewReader(last.line())); err != nil {
				t.Fatal(err)
			}
			select {
			case <-done:
			case <-time.After(2 * time.Minute):
				t.Fatal("it runs on")
			}
		})
	}
}

// A renewal keeps the command; the guard ends with it.
func TestTheGuardFollowsRenewals(t *testing.T) {
	group, done := sleeper(t, "echo ready; sleep 600")
	in, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- guard(group, in) }()
	_, _ = io.WriteString(out, tenure{upTime(), time.Hour}.line())
	_, _ = io.WriteString(out, tenure{upTime() - 2*time.Hour, 4 * time.Hour}.line()) // both are taken before it returns
	if err := syscall.Kill(-group, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-done
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	_ = out.Close()
}

// A guard that is told nothing watches nothing.
func TestAGuardNeedsARenewal(t *testing.T) {
	group, _ := sleeper(t, "echo ready; sleep 60")
	if err := guard(group, strings.NewReader("")); err == nil {
		t.Error("it guards without a renewal")
	}
}

// A holder that was stopped saw no failed renewal. When it goes on after its command was ended for that, it says why; a command that ended by itself keeps its exit code.
func TestWhyACommandEndedWhileItsHolderStood(t *testing.T) {
	for _, c := range []struct {
		script string
		ago    time.Duration // the last renewal
		code   messages.Code
		exit   int
	}{{"kill -KILL $$", time.Minute, messages.FailedPrecondition, 0}, {"exit 3", time.Minute, messages.FailedPrecondition, 0}, {"exit 0", time.Minute, 0, 0}, {"kill -KILL $$", 0, 0, 137}, {"exit 3", 0, 0, 3}} {
		cmd := exec.Command("sh", "-c", c.script)
		_ = cmd.Run()
		l := &lease{held: &messages.GpuLeaseReply{LeaseId: "l1"}, tenure: tenure{upTime() - c.ago, 30 * time.Second}}
		err := l.outcome(cmd, nil)
		var quiet quietExit
		if errors.As(err, &quiet); int(quiet) != c.exit || c.code != 0 && (messages.CodeOf(err) != c.code || !strings.Contains(err.Error(), "wasn't renewed for 1m0")) || c.code == 0 && c.exit == 0 && err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
