package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Process 1 takes the entries of dead orphans, and leaves its own dead children to their wait.
func TestProcess1ReapsOrphans(t *testing.T) {
	if got := string(role(t, "init")); got != "orphan reaped true, own child left true, its wait <nil>\n" {
		t.Error(got)
	}
}

// reapAsInit plays process 1: orphans fall to a subreaper as they do to process 1.
func reapAsInit() int {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Println(err)
		return 1
	}
	out, err := exec.Command("/bin/sh", "-c", "sleep 0.01 >/dev/null & echo $!").Output()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	var orphaned int64
	_, _ = fmt.Sscan(string(out), &orphaned)
	s := New(Options{})
	own := exec.Command("/bin/true")
	if err := own.Start(); err != nil {
		fmt.Println(err)
		return 1
	}
	dead := func(pid int64) bool { st, err := readStat(pid); return err == nil && st.dead() }
	for !dead(orphaned) || !dead(int64(own.Process.Pid)) {
		_ = Sleep(context.Background(), time.Millisecond)
	}
	// A child is left for some looks, an orphan isn't for ever.
	seen := s.reapOrphans(nil)
	left := dead(int64(own.Process.Pid)) && dead(orphaned)
	waited := own.Wait()
	for range orphanAge {
		seen = s.reapOrphans(seen)
	}
	_, gone := os.Stat(procPath(orphaned, "stat"))
	fmt.Printf("orphan reaped %t, own child left %t, its wait %v\n", os.IsNotExist(gone), left, waited)
	return 0
}

// The looks at a dead child don't count for the next one with its pid, and a child of the Supervisor is never taken.
func TestOrphansAreToldFromOtherChildren(t *testing.T) {
	s := New(Options{})
	dead := func() (*exec.Cmd, stat) {
		cmd := exec.Command("true")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var st stat
		eventually(t, "its end", func() bool { st, _ = readStat(int64(cmd.Process.Pid)); return st.dead() })
		return cmd, st
	}
	young, st := dead()
	old := map[int64]orphan{st.pid: {startTicks: st.startTicks - 1, looks: orphanAge}}
	if got := s.reapOrphans(old)[st.pid]; got.looks != 1 {
		t.Errorf("%+v", got)
	}
	if err := young.Wait(); err != nil {
		t.Error("it was taken for the former one:", err)
	}
	own, st := dead()
	s.children["n"] = &child{handle: Handle{Pid: st.pid, StartTicks: st.startTicks, Nonce: "n"}, cmd: own, done: make(chan struct{})}
	s.reapOrphans(map[int64]orphan{st.pid: {startTicks: st.startTicks, looks: orphanAge}})
	if err := own.Wait(); err != nil {
		t.Error("an own child was taken:", err)
	}
}
