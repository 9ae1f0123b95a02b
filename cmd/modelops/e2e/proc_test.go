//go:build e2e

package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is a worker as the kernel knows it.
type process struct {
	pid   int
	model string
}

// processesOf finds the living workers, and what they started, of the daemon in dir: their environment says where they log to.
func processesOf(dir string) []process {
	entries, _ := os.ReadDir("/proc")
	var out []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		env := environOf(pid)
		if strings.HasPrefix(env["MODELOPS_LOG"], dir+"/") {
			out = append(out, process{pid: pid, model: env["MODELOPS_MODEL"]})
		}
	}
	return out
}

func environOf(pid int) map[string]string {
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	out := map[string]string{}
	for kv := range bytes.SplitSeq(raw, []byte{0}) {
		if k, v, ok := bytes.Cut(kv, []byte("=")); ok {
			out[string(k)] = string(v)
		}
	}
	return out
}

// pidsOf are the workers of one model.
func (d *daemon) pidsOf(model string) []int {
	var out []int
	for _, p := range processesOf(d.dir) {
		if p.model == model {
			out = append(out, p.pid)
		}
	}
	return out
}

func alive(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// handles is what a process that leaks has ever more of.
type handles struct{ files, goroutines int }

// handles counts while the operator's account on NATS is served, which it is for a minute after each connection.
func (d *daemon) handles() handles {
	d.t.Helper()
	d.dial().Close()
	fds, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(d.cmd.Process.Pid), "fd"))
	if err != nil {
		d.t.Fatal(err)
	}
	return handles{files: len(fds), goroutines: int(d.metric("go_goroutines"))}
}

// settlesAt waits until the daemon holds no more than before, give or take what idle connections take.
func (d *daemon) settlesAt(before handles) {
	d.t.Helper()
	d.http().CloseIdleConnections()
	const slack = 12
	var now handles
	end := time.Now().Add(waitLimit)
	for {
		if now = d.handles(); now.files <= before.files+slack && now.goroutines <= before.goroutines+3*slack {
			return
		}
		if time.Now().After(end) {
			d.t.Errorf("the daemon has %+v, before the test it had %+v", now, before)
			return
		}
		pause(d.t)
	}
}

// pause lets a poller wait for the next look.
func pause(t *testing.T) {
	t.Helper()
	select {
	case <-t.Context().Done():
	case <-time.After(10 * time.Millisecond): // meant to pass: the next look
	}
}

func (d *daemon) killPid(pid int) {
	d.t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		d.t.Fatal(err)
	}
}
