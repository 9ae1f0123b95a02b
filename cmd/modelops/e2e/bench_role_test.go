//go:build e2e

package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// roles are the processes of a measurement besides the daemon: engine, bare proxy, clients. Each is this test program under
// another word, so that a measurement needs nothing but Go, and has its own processor time, memory and garbage.
var roles = map[string]func(args []string) error{
	"engine": engineRole, "proxy": proxyRole, "bridge": bridgeRole,
	"throughput": throughputRole, "sequential": sequentialRole, "chunks": chunksRole, "paced": pacedRole, "grpc": grpcRole, "soak": soakRole,
	"player": playerRole, "deaf": deafRole, "sleeper": sleeperRole,
	"labinit": labInitRole, "labprobe": labProbeRole,
}

const roleWord = "bench-role"

// A process with a role never gets to the tests.
func init() {
	if len(os.Args) < 3 || os.Args[1] != roleWord {
		return
	}
	role, ok := roles[os.Args[2]]
	if !ok {
		fmt.Fprintln(os.Stderr, "no role", os.Args[2])
		os.Exit(2)
	}
	if err := role(os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// attend starts a role that serves until the test ends, and returns the address that it says.
func attend(t *testing.T, role string, args ...string) (url string) {
	t.Helper()
	cmd := exec.Command(self(t), append([]string{roleWord, role}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%s said nothing: %v", role, err)
	}
	return strings.TrimSpace(line)
}

// perform runs a role with a task to its end and reads the result.
func perform(t *testing.T, role string, task, result any) {
	t.Helper()
	if err := tryPerform(t, role, task, result); err != nil {
		t.Fatal(err)
	}
}

func tryPerform(t *testing.T, role string, task, result any) error {
	raw, err := json.Marshal(task)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(t.Context(), self(t), roleWord, role, string(raw))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w", role, err)
	}
	return json.Unmarshal(out, result)
}

// taskOf reads what perform passed on.
func taskOf[T any](args []string) (task T, err error) {
	if len(args) != 1 {
		return task, fmt.Errorf("want one task, got %q", args)
	}
	return task, json.Unmarshal([]byte(args[0]), &task)
}

func report(result any) error { return json.NewEncoder(os.Stdout).Encode(result) }

// listenSaying listens on a free port, or the given one, and says where.
func listenSaying(port int) (net.Listener, error) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, err
	}
	fmt.Printf("http://%s\n", l.Addr())
	return l, nil
}

// due waits until a moment of the real clock. A measurement is about that clock: a load has its pace, and what is idle is so for a time.
func due(at time.Time) {
	wait := time.NewTimer(time.Until(at))
	defer wait.Stop()
	<-wait.C
}

// sinceStart is how long ago the kernel started this process. The kernel counts in hundredths of a second and cuts off the rest, which
// is taken as half of one.
func sinceStart() time.Duration {
	raw, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	ticks, err := strconv.ParseInt(strings.Fields(rest)[19], 10, 64)
	if err != nil {
		return 0
	}
	began := time.Duration(ticks)*10*time.Millisecond + 5*time.Millisecond
	return time.Duration(now.Nano()) - began
}
