package process

import (
	"os/exec"
	"syscall"
	"testing"
)

// Only the very process that told its identity is signalled.
func TestSignalSelf(t *testing.T) {
	c := exec.Command("sleep", "600")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
	st, err := readStat(int64(c.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	self, err := Self()
	if err != nil || self.StartTicks == 0 || self.BootID == "" {
		t.Fatalf("%+v %v", self, err)
	}
	h := Handle{Pid: st.pid, StartTicks: st.startTicks, BootID: self.BootID}
	for what, wrong := range map[string]func(*Handle){
		"another start time": func(h *Handle) { h.StartTicks-- },
		"no start time":      func(h *Handle) { h.StartTicks = 0 },
		"another boot":       func(h *Handle) { h.BootID = "other" },
		"pid 1":              func(h *Handle) { h.Pid = 1 },
	} {
		named := h
		wrong(&named)
		if err := SignalSelf(named, syscall.SIGKILL); err == nil {
			t.Error(what, "was signalled")
		}
	}
	if err := SignalSelf(h, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := c.Wait(); err == nil || err.Error() != "signal: terminated" {
		t.Error("it ended with", err)
	}
}
