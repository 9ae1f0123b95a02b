package process

import (
	"fmt"
	"os"
	"syscall"
)

// Self is this program's own identity for another program that wants to signal it: pid, start time and boot. It keeps it over an exec.
func Self() (Handle, error) {
	st, err := readStat(int64(os.Getpid()))
	if err != nil {
		return Handle{}, err
	}
	boot, err := kernelBootID()
	return Handle{Pid: st.pid, StartTicks: st.startTicks, BootID: boot}, err
}

// SignalSelf sends a signal to a program by the identity that its Self told. A process that only has its pid is not signalled.
func SignalSelf(h Handle, sig syscall.Signal) error {
	if h.Pid <= 1 || h.StartTicks == 0 {
		return fmt.Errorf("the record names no process: pid %d, started at tick %d", h.Pid, h.StartTicks)
	}
	boot, err := kernelBootID()
	if err != nil {
		return err
	}
	if h.BootID != boot {
		return fmt.Errorf("the machine was started again since (kernel boot %s, now %s)", h.BootID, boot)
	}
	p, err := openPidfd(h.Pid)
	if err != nil {
		return fmt.Errorf("pid %d: %w", h.Pid, err)
	}
	defer p.Close()
	if live, err := matches(p, h); live != Alive {
		return err
	}
	return p.signal(sig)
}
