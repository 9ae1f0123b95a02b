//go:build e2e

package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"modelops/messages"
)

// borrower is a `modelops lease` that runs.
type borrower struct {
	*exec.Cmd
	out, err *buffer
	done     chan error
}

// borrows starts `modelops lease` with a command.
func (d *daemon) borrows(args ...string) *borrower {
	d.t.Helper()
	b := &borrower{Cmd: exec.Command(d.binary, append([]string{"lease", "--config", filepath.Join(d.dir, "cluster.yaml")}, args...)...), out: &buffer{}, err: &buffer{}, done: make(chan error, 1)}
	b.Env, b.Stdout, b.Stderr = d.environ(), b.out, b.err
	if err := b.Start(); err != nil {
		d.t.Fatal(err)
	}
	go func() { b.done <- b.Wait() }()
	d.t.Cleanup(func() { _ = b.Process.Kill() })
	return b
}

// leased lists the programs' leases by their holders.
func (d *daemon) leased() (out []string) {
	for _, g := range d.status().Gpus {
		for _, r := range g.Reservations {
			if strings.HasPrefix(r.Holder, "client/") {
				out = append(out, r.Holder)
			}
		}
	}
	return out
}

// ends waits for a lease's command and gives its exit code.
func (b *borrower) ends(d *daemon, within time.Duration) int {
	d.t.Helper()
	select {
	case <-b.done:
		return b.ProcessState.ExitCode()
	case <-time.After(within):
		d.t.Fatalf("modelops lease runs on; it said: %s", b.err)
		return 0
	}
}

// TestLeaseRunsACommand: an idle model leaves for a program, which is bound to the device, keeps its memory beyond the time to live and gives it back
// at its end. The model that left comes back when that was asked for, and the exit code is the command's.
func TestLeaseRunsACommand(t *testing.T) {
	d := start(t, oneDevice("", plays(t, "idle", "", "vram_mb: 20000")))
	d.says("idle", "idle")
	gate := filepath.Join(t.TempDir(), "end")
	b := d.borrows("--vram", "10G", "--ttl", "2s", "--wait", "1m", "--restore", "--name", "trainer", "--",
		"sh", "-c", `echo "on $CUDA_VISIBLE_DEVICES with $MODELOPS_LEASE"; until [ -e "$0" ]; do sleep 0.05; done; exit 7`, gate)
	d.until(time.Minute, "the command runs", func() bool { return strings.Contains(b.out.String(), "on 0 with ") })
	if got := d.leased(); len(got) != 1 || got[0] != "client/trainer" || d.model("idle").Phase != messages.ModelView_absent {
		t.Fatalf("leases %q, the model is %s", got, d.model("idle").Phase)
	}
	d.until(time.Minute, "the lease outlives its time", func() bool { return d.count(messages.GPUActor("main_pc", "gpu0"), "gpu.lease_renewed") >= 3 })
	if got := d.leased(); len(got) != 1 {
		t.Fatalf("it wasn't renewed: %q; it said %s", got, b.err)
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code := b.ends(d, 30*time.Second); code != 7 {
		t.Errorf("exit code %d: %s", code, b.err)
	}
	d.awaitPhase("idle", "ready")
	if got := d.leased(); len(got) != 0 {
		t.Errorf("it wasn't given back: %q", got)
	}
}

// TestALeaseWaitsInTurn: while another program has the memory, two wait, each is told its place, and they get it in the order in which they came.
func TestALeaseWaitsInTurn(t *testing.T) {
	t.Parallel() // it waits more than it works
	d := start(t, oneDevice("", ""))
	dir := t.TempDir()
	waits := func(name string) []string {
		return []string{"--vram", "20G", "--wait", "5m", "--name", name, "--", "sh", "-c", `echo runs; until [ -e "$0" ]; do sleep 0.05; done`, filepath.Join(dir, name)}
	}
	end := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	runs := func(b *borrower) bool { return strings.Contains(b.out.String(), "runs") }
	one := d.borrows(waits("one")...)
	d.until(time.Minute, "the first runs", func() bool { return runs(one) })
	two := d.borrows(waits("two")...)
	d.until(time.Minute, "the second is told its place", func() bool { return strings.Contains(two.err.String(), "place 1 in line") })
	three := d.borrows(waits("three")...)
	d.until(time.Minute, "the third is told its place", func() bool { return strings.Contains(three.err.String(), "place 2 in line") })
	end("one")
	d.until(time.Minute, "the second runs", func() bool { return runs(two) })
	d.until(time.Minute, "the third moves up", func() bool { return strings.Contains(three.err.String(), "place 1 in line") })
	if runs(three) {
		t.Error("the third runs beside the second")
	}
	end("two")
	d.until(time.Minute, "the third runs", func() bool { return runs(three) })
	end("three")
	for _, b := range []*borrower{one, two, three} {
		if code := b.ends(d, 30*time.Second); code != 0 {
			t.Errorf("exit code %d: %s", code, b.err)
		}
	}
	huge := d.borrows("--vram", "99G", "--wait", "1h", "--", "true") // no wait helps
	if code := huge.ends(d, time.Minute); code != 5 || !strings.Contains(huge.err.String(), "never fits") {
		t.Errorf("more than there is: %d %s", code, huge.err)
	}
}

// TestAStoppedHolderLosesItsCommandFirst: `modelops lease` is stopped, or killed, for longer than its time to live. Its command is gone before the owner
// gives the memory to another.
func TestAStoppedHolderLosesItsCommandFirst(t *testing.T) {
	for name, how := range map[string]syscall.Signal{"stopped": syscall.SIGSTOP, "killed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			d := start(t, oneDevice("", ""))
			mark := filepath.Join(t.TempDir(), "alive")
			// The command is deaf, and writes down until when it ran.
			b := d.borrows("--vram", "20G", "--ttl", "3s", "--name", "deaf", "--", "sh", "-c", `trap '' TERM; echo $$; while :; do date +%s%N >"$0.new"; mv "$0.new" "$0"; sleep 0.02; done`, mark)
			d.until(time.Minute, "the command runs", func() bool { _, err := os.Stat(mark); return err == nil })
			if err := b.Process.Signal(how); err != nil {
				t.Fatal(err)
			}
			next := d.borrows("--vram", "20G", "--wait", "2m", "--name", "next", "--", "date", "+%s%N")
			if code := next.ends(d, 2*time.Minute); code != 0 {
				t.Fatalf("the next one failed with %d: %s", code, next.err)
			}
			last, granted := instant(t, mustRead(t, mark)), instant(t, next.out.String())
			if last >= granted {
				t.Errorf("the former command ran until %s after the memory was granted again", time.Duration(last-granted))
			}
			pid, _ := strconv.Atoi(strings.TrimSpace(b.out.String()))
			if err := syscall.Kill(pid, 0); err == nil && !isZombie(pid) {
				t.Errorf("the command %d still runs", pid)
			}
			if how == syscall.SIGSTOP {
				_ = b.Process.Signal(syscall.SIGCONT)
				if code := b.ends(d, time.Minute); code != 5 || !strings.Contains(b.err.String(), "its lease wasn't renewed for ") {
					t.Errorf("exit code %d: %s", code, b.err)
				}
			}
		})
	}
}

// TestAFencedHolderEndsItsCommand: an operator ends a lease, so its command ends although the daemon answers.
func TestAFencedHolderEndsItsCommand(t *testing.T) {
	d := start(t, oneDevice("", ""))
	b := d.borrows("--vram", "1G", "--ttl", "3s", "--", "sleep", "600")
	d.until(time.Minute, "it has its lease", func() bool { return len(d.leased()) == 1 })
	var lease string
	for _, g := range d.status().Gpus {
		for _, r := range g.Reservations {
			lease = r.Lease
		}
	}
	if a := d.post("/api/leases/release", object{"lease_id": lease}); a.status != 200 {
		t.Fatal(a)
	}
	if code := b.ends(d, time.Minute); code != 5 || !strings.Contains(b.err.String(), "lease couldn't be renewed") {
		t.Errorf("exit code %d: %s", code, b.err)
	}
}

func mustRead(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// instant reads a time in nanoseconds, as date prints it.
func instant(t *testing.T, text string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// isZombie tells that a process has ended and its parent hasn't taken note.
func isZombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(b), ") Z ")
}
