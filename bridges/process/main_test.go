package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// TestMain lets the test binary play a second program: started with ROLE it never comes to the tests.
func TestMain(m *testing.M) {
	switch os.Getenv("ROLE") {
	case "":
		goleak.VerifyTestMain(m)
	case "starter":
		os.Exit(startAndDie())
	case "starved":
		os.Exit(askWithoutDescriptors())
	case "init":
		os.Exit(reapAsInit())
	case "deprived":
		os.Exit(actDeprived())
	case "blind":
		os.Exit(askBlind())
	case "hidden":
		os.Exit(hideAndSleep())
	case "socket":
		os.Exit(seeSocket())
	case "powerless":
		os.Exit(dropPowers())
	}
}

// The programs that the tests start. All but the first write a line "up" when they are as they are meant to be.
const (
	fails  = `echo hello; echo "error: it broke" >&2; exit 7`
	waits  = `echo up; exec sleep 600`
	deaf   = `trap "" TERM; echo up; exec sleep 600` // an ignored signal stays ignored after exec
	chatty = `i=0; while [ $i -lt 500 ]; do echo line $i; i=$((i+1)); done; echo up; exec sleep 600`
	// parent has two deaf children, one in a session of its own. It ends on SIGTERM itself.
	parent = `trap "" TERM; setsid sleep 600 & echo child $!; sleep 600 & echo child $!; trap - TERM; echo up; wait`
	// hoarder becomes a program that keeps the entries of its dead children.
	hoarder = `sleep 600 & echo child $!; echo up; exec sleep 600`
)

// shell is a Spec that runs one of the programs above.
func shell(t *testing.T, script string) Spec {
	t.Helper()
	n := nonce(t)
	return Spec{Argv: []string{"/bin/sh", "-c", script}, Env: os.Environ(), Nonce: n, LogPath: Logs{t.TempDir()}.Path("m", n, time.Now())}
}

// start starts a process, waits until it is up, and sees to its end.
func start(t *testing.T, s *Supervisor, spec Spec) Handle {
	t.Helper()
	h, started, err := s.Start(t.Context(), spec)
	if err != nil || !started {
		t.Fatal(started, err)
	}
	t.Cleanup(func() { end(t, s, h) })
	if !strings.Contains(spec.Argv[len(spec.Argv)-1], fails) {
		eventually(t, "the process is up", func() bool { return slices.Contains(Tail(h.LogPath, TailLines), "up") })
	}
	return h
}

// end kills what is left of a process and waits for its reaper.
func end(t *testing.T, s *Supervisor, h Handle) {
	t.Helper()
	if err := s.Stop(context.Background(), h, 0, nil); err != nil {
		t.Error(err)
	}
}

func nonce(t *testing.T) string {
	return strings.ReplaceAll(t.Name(), "/", "-") + "-" + strconv.FormatInt(time.Now().UnixNano(), 36)
}

// eventually polls what another process does: there is nothing here to wait on.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !ok() {
		if Sleep(ctx, 2*time.Millisecond) != nil {
			t.Fatal("never seen: " + what)
		}
	}
}

// becomesSleep waits until the shell that was started has become sleep.
func becomesSleep(t *testing.T, h Handle) {
	t.Helper()
	eventually(t, "the shell becomes sleep", func() bool {
		b, _ := os.ReadFile(procPath(h.Pid, "cmdline"))
		return strings.HasPrefix(string(b), "sleep")
	})
}

// childrenOf are the pids that a program wrote into its log.
func childrenOf(h Handle) []int64 {
	var out []int64
	for _, l := range Tail(h.LogPath, 10) {
		if v, ok := strings.CutPrefix(l, "child "); ok {
			pid, _ := strconv.ParseInt(v, 10, 64)
			out = append(out, pid)
		}
	}
	return out
}

func running(pid int64) bool {
	st, err := readStat(pid)
	return err == nil && !st.dead()
}

// expectDead checks that a parent and its two children have ended.
func expectDead(t *testing.T, h Handle) {
	t.Helper()
	children := childrenOf(h)
	if len(children) != 2 {
		t.Fatalf("the program started %d children", len(children))
	}
	for _, pid := range append(children, h.Pid) {
		if running(pid) {
			t.Errorf("pid %d lives on", pid)
		}
	}
}

// role runs the test binary as another program and returns what it wrote.
func role(t *testing.T, name string, env ...string) []byte {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(append(os.Environ(), "ROLE="+name), env...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatal(err, stderr.String())
	}
	return out
}

// lostStarter lets another program start a process and die.
func lostStarter(t *testing.T, script string) Handle {
	t.Helper()
	spec := shell(t, script)
	b, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	var h Handle
	if err := json.Unmarshal(role(t, "starter", "SPEC="+string(b)), &h); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(t, New(Options{}), h) })
	eventually(t, "the process is up", func() bool { return slices.Contains(Tail(h.LogPath, TailLines), "up") })
	return h
}

func startAndDie() int {
	var spec Spec
	err := json.Unmarshal([]byte(os.Getenv("SPEC")), &spec)
	spec.Env = slices.DeleteFunc(os.Environ(), func(pair string) bool { return strings.HasPrefix(pair, "ROLE=") || strings.HasPrefix(pair, "SPEC=") })
	h, _, failed := New(Options{}).Start(context.Background(), spec)
	if err = errors.Join(err, failed, json.NewEncoder(os.Stdout).Encode(h)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// askWithoutDescriptors tells what Prove and Find answer when no file can be opened.
func askWithoutDescriptors() int {
	var h Handle
	err := json.Unmarshal([]byte(os.Getenv("HANDLE")), &h)
	s := New(Options{})
	err = errors.Join(err, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{}))
	proved, why := s.Prove(h)
	_, found, unfound := s.Find(context.Background(), h.Nonce)
	fmt.Println(proved, found, errors.Is(why, syscall.EMFILE), errors.Is(unfound, syscall.EMFILE), err)
	young := New(Options{}) // it can't read the kernel's boot id
	proved, _ = young.Prove(h)
	fmt.Println(proved, codeOf(young.Stop(context.Background(), h, 0, nil)))
	return 0
}
