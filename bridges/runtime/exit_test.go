package runtime

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// Once somebody else has reaped the process, only its pidfd still knows how it ended.
func TestStatusAfterTheReap(t *testing.T) {
	cmd := exec.Command("sh", "-c", "read x; exit 7")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	g, err := openGrip(int64(cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if g.ended() {
		t.Fatal("it has not ended yet")
	}
	in.Close()
	if err := g.wait(t.Context()); err != nil || !g.ended() {
		t.Fatal("its end was not seen:", err)
	}
	_ = cmd.Wait()
	if err := g.signal(syscall.SIGKILL); err == nil {
		t.Error("a signal reached somebody")
	}
	status, ok := g.pidfdStatus()
	if !ok {
		t.Skip("this kernel (before 6.15) keeps no exit code for pidfds")
	}
	if e := exitOf(status); e.Code != 7 || e.Reason != "exit code 7" {
		t.Errorf("%+v", e)
	}
}

func TestExitOf(t *testing.T) {
	tests := map[syscall.WaitStatus]string{0: "exit code 0", 7 << 8: "exit code 7", 15: "ended by signal 15 (SIGTERM)", 9: "memory runs out", 11 | 0x80: "SIGSEGV"}
	for status, want := range tests {
		if e := exitOf(status); !strings.Contains(e.Reason, want) {
			t.Errorf("%#x: %q, want %q", int(status), e.Reason, want)
		}
	}
}
