//go:build linux

package cpu

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// The real kernel's files, with a real worker: this test binary, started again, holding 64 MiB.
func TestRealProcess(t *testing.T) {
	const held = 64 * mib
	if os.Getenv("MODELOPS_HOLD") != "" {
		block := make([]byte, held)
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1
		}
		fmt.Println("held")
		_, _ = os.Stdin.Read(block[:1]) // until the parent lets go
		return
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), "MODELOPS_HOLD=1")
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err1 := child.StdinPipe()
	out, err2 := child.StdoutPipe()
	if err := child.Start(); err != nil || err1 != nil || err2 != nil {
		t.Fatal(err, err1, err2)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("%q %v", line, err)
	}
	pid := int64(child.Process.Pid)
	d := Open(Options{Pids: pids(pid)})
	m := one(t, d)
	t.Log(d.Status(), m)
	if len(m.Processes) != 1 || m.Processes[0].Pid != pid || m.Processes[0].Bytes < held || m.Processes[0].Bytes > 4*held {
		t.Errorf("processes %v", m.Processes)
	}
	if m.UsedBytes < held || m.CapacityBytes == 0 {
		t.Errorf("used %d of %d", m.UsedBytes, m.CapacityBytes)
	}
	if _, peak, err := d.Footprint(pid); err != nil || peak < held {
		t.Errorf("peak %d %v", peak, err)
	}
	_ = in.Close()
	_ = child.Wait()
	if _, _, err := d.Footprint(pid); err == nil {
		t.Error("a process that has ended was measured")
	}
	if n := len(one(t, d).Processes); n != 0 {
		t.Errorf("%d processes after its end", n)
	}
}

func BenchmarkRead(b *testing.B) {
	d := Open(Options{Pids: pids(int64(os.Getpid()))})
	for b.Loop() {
		if _, err := d.Read(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
