//go:build e2e

package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// insideLab tells a test that it runs in namespaces of its own.
const insideLab = "MODELOPS_E2E_LAB"

// laboratory runs the test again in network, process and mount namespaces of its own: whatever ends the test, the kernel ends each process in them and takes
// each device away. It tells whether this is the inner run, which does the test's work. Where the kernel permits no namespaces, the test itself goes on, on
// loopback.
func laboratory(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideLab) != "" {
		return true
	}
	how, refused := namespaces()
	if refused != "" {
		t.Logf("laboratory: on loopback with proxies, because namespaces aren't permitted here: %s", refused)
		return true
	}
	again(t, how)
	return false
}

// namespaces are the flags of unshare that work here, or why none do.
var namespaces = sync.OnceValues(func() (how []string, refused string) {
	how = []string{"--net", "--pid", "--fork", "--kill-child", "--mount-proc"}
	if os.Getenv("LAB_LOOPBACK") != "" {
		return nil, "LAB_LOOPBACK is set"
	}
	if os.Geteuid() != 0 {
		how = append([]string{"--user", "--map-root-user"}, how...)
	}
	path, err := os.Executable()
	if err != nil {
		return nil, err.Error()
	}
	if said, err := exec.Command("unshare", append(how, path, roleWord, "labprobe")...).CombinedOutput(); err != nil {
		return nil, strings.TrimSpace(fmt.Sprintf("%v %s", err, said))
	}
	return how, ""
})

// again runs this test, and no other, in the namespaces.
func again(t *testing.T, how []string) {
	t.Helper()
	limit := 10 * time.Minute
	if end, ok := t.Deadline(); ok {
		limit = time.Until(end) - 10*time.Second
	}
	args := append(how, self(t), roleWord, "labinit", self(t), "-test.run", "^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v", "-test.count=1", "-test.timeout="+limit.String())
	cmd := exec.CommandContext(t.Context(), "unshare", args...)
	cmd.Env = append(os.Environ(), insideLab+"=1", "MODELOPS_BIN="+binary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // unshare's end ends everything in the namespaces
	said, err := cmd.CombinedOutput()
	words := strings.NewReplacer("--- ", "... ", "=== ", "... ").Replace(string(said)) // those lines are the outer test's to write
	switch {
	case err != nil || !strings.Contains(string(said), "--- "):
		t.Errorf("in namespaces of its own: %v\n%s", err, words)
	case strings.Contains(string(said), "--- SKIP"):
		t.Skip(words)
	default:
		t.Logf("in namespaces of its own:\n%s", words)
	}
}

// labProbeRole tells by its exit code whether a laboratory can be built in its namespaces.
func labProbeRole([]string) error {
	net, err := openTUNs(1)
	if err != nil {
		return err
	}
	net.close()
	return nil
}

// labInitRole is the first process of the namespaces: it runs a program and reaps what others leave behind.
func labInitRole(args []string) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		case pid == cmd.Process.Pid:
			os.Exit(max(status.ExitStatus(), 0) + 128*boolean(status.Signaled()))
		}
	}
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}
