package process

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// Once the process has been reaped, only its pidfd still knows how it ended.
func TestStatusAfterTheReap(t *testing.T) {
	cmd := exec.Command("sh", "-c", "read x; exit 7")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := openPidfd(int64(cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if p.Ended() {
		t.Fatal("it has not ended yet")
	}
	in.Close()
	if err := p.Wait(t.Context()); err != nil || !p.Ended() {
		t.Fatal("its end was not seen:", err)
	}
	_ = cmd.Wait()
	if err := p.signal(syscall.SIGKILL); err == nil {
		t.Error("a signal reached some process")
	}
	e := p.exit(Handle{Pid: int64(cmd.Process.Pid)})
	if _, kept := p.pidfdStatus(); !kept { // a kernel before 6.15 keeps no exit code
		if e.Code != -1 || !strings.Contains(e.Reason, "unknown") {
			t.Errorf("%+v", e)
		}
		return
	}
	if e.Code != 7 || e.Reason != "exit code 7" {
		t.Errorf("%+v", e)
	}
}

func TestExitOfAStatus(t *testing.T) {
	tests := map[syscall.WaitStatus]struct {
		code int32
		want string
	}{
		0: {0, "exit code 0"}, 7 << 8: {7, "exit code 7"}, 15: {143, "ended by signal 15 (SIGTERM)"},
		9: {Killed, "memory runs out"}, 11 | 0x80: {139, "SIGSEGV"},
	}
	for status, c := range tests {
		if e := ofStatus(status, Handle{}); e.Code != c.code || e.Unwitnessed || !strings.Contains(e.Reason, c.want) {
			t.Errorf("%#x: %+v, want %d %q", int(status), e, c.code, c.want)
		}
	}
}
