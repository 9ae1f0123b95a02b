//go:build e2e

package e2e_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"modelops/messages"
)

// lenders are two hosts with a device each, of which each reaches the other through a proxy that can be cut.
func lenders(t *testing.T) (l *lab, main, pc2 *labHost) {
	t.Helper()
	l = newLabOn(t, openProxies(), "main_pc", "pc2")
	all := l.cluster(func(host string) string {
		return labDevices(plays(t, "own-"+host, "", "vram_mb: 20000"))
	})
	return l, all[0], all[1]
}

// TestALeaseOfAnotherHost: memory of pc2 for a command on main_pc: a model of pc2 leaves for it and comes back after it, it is renewed over the link, and is
// given back at the command's end, however short that was. The words of the legacy contract do the same.
func TestALeaseOfAnotherHost(t *testing.T) {
	_, main, pc2 := lenders(t)
	pc2.says("own-pc2", "own-pc2")
	gate := filepath.Join(t.TempDir(), "end")
	b := main.borrows("--host", "pc2", "--vram", "10G", "--ttl", "3s", "--wait", "2m", "--restore", "--name", "trainer", "--",
		"sh", "-c", `echo "on $CUDA_VISIBLE_DEVICES with $MODELOPS_LEASE"; until [ -e "$0" ]; do sleep 0.05; done; exit 7`, gate)
	main.until(waitLimit, "the command runs", func() bool { return strings.Contains(b.out.String(), "on 0 with ") })
	if got := pc2.leasedOf("pc2"); len(got) != 1 || got[0] != "client/trainer" || pc2.model("own-pc2").Phase != messages.ModelView_absent {
		t.Fatalf("leases %q, the model is %s", got, pc2.model("own-pc2").Phase)
	}
	pc2.until(waitLimit, "the lease outlives its time", func() bool { return pc2.count(messages.GPUActor("pc2", "gpu0"), "gpu.lease_renewed") >= 3 })
	if n := main.count(messages.GPUActor("main_pc", "gpu0"), "gpu.vram_reserved"); n != 0 {
		t.Errorf("main_pc reserved %d times on its own device", n)
	}
	pc2.explains("lease/"+strings.Fields(b.out.String())[3], "client/trainer holds")
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code := b.ends(main.daemon, waitLimit); code != 7 {
		t.Errorf("exit code %d: %s", code, b.err)
	}
	pc2.awaitPhase("own-pc2", "ready")
	nobody := func(when string) {
		t.Helper()
		if got := pc2.leasedOf("pc2"); len(got) != 0 {
			t.Errorf("%s: not given back: %q", when, got)
		}
	}
	nobody("after the command")
	short := main.borrows("--host", "pc2", "--vram", "100M", "--ttl", "1h", "--", "true")
	if code := short.ends(main.daemon, waitLimit); code != 0 {
		t.Errorf("exit code %d: %s", code, short.err)
	}
	nobody("after a short command")

	door := main.grpc()
	var held []string
	for range 4 { // on whichever host; the memory of one isn't enough for all
		got, err := door.AcquireGpuLease(t.Context(), &messages.GpuLeaseRequest{Client: "legacy", ModelName: "x", VramEstimateMb: 9000, Priority: 1, TtlSeconds: 600})
		if err != nil || !got.Granted || got.LeaseId == "" || got.VramReservedMb != 9000 {
			t.Fatal(got, err)
		}
		held = append(held, got.LeaseId)
	}
	if here, there := main.leasedOf("main_pc"), pc2.leasedOf("pc2"); len(here) != 2 || len(there) != 2 {
		t.Errorf("main_pc has %q, pc2 %q", here, there)
	}
	for _, lease := range slices.Backward(held) { // the last one is a moment old
		if ack, err := door.ReleaseGpuLease(t.Context(), &messages.GpuLeaseRelease{LeaseId: lease}); err != nil || !ack.Success {
			t.Error(ack, err)
		}
	}
	if here := main.leasedOf("main_pc"); len(here) != 0 {
		t.Errorf("not given back: %q", here)
	}
	nobody("after the legacy contract's release")
}

// TestAHolderGivesUpBeforeAnotherHostsOwner: whatever comes between the holder of a lease and the host that granted it, the command has ended before its
// memory is granted to another. Both hosts go on with what is their own.
func TestAHolderGivesUpBeforeAnotherHostsOwner(t *testing.T) {
	t.Parallel() // it waits more than it works
	l, main, pc2 := lenders(t)
	signal := func(p *os.Process, s syscall.Signal) {
		t.Helper()
		if err := p.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name        string
		harm, after func(b *borrower)
	}{
		{"the link is cut", func(*borrower) { l.cut("main_pc", "pc2") }, func(*borrower) {
			for _, h := range []*labHost{main, pc2} { // before it heals
				h.says("own-"+h.name(), "own-"+h.name())
				other := l.other(h).name()
				h.until(waitLimit, h.name()+" misses "+other, func() bool { return strings.Contains(string(h.get("/health").body), "host "+other+": ") })
			}
			l.heal()
		}},
		{"the owner is stopped", func(*borrower) { signal(pc2.cmd.Process, syscall.SIGSTOP) }, nil},
		{"the owner is killed", func(*borrower) { pc2.kill() }, nil},
		{"the holder is stopped", func(b *borrower) { signal(b.Process, syscall.SIGSTOP) }, func(b *borrower) { signal(b.Process, syscall.SIGCONT) }},
		{"the holder is killed", func(b *borrower) { signal(b.Process, syscall.SIGKILL) }, nil},
		{"the holder's daemon is killed", func(*borrower) { main.kill() }, func(*borrower) { main.launch() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			mark := filepath.Join(t.TempDir(), "alive")
			// The command is deaf, and writes down until when it ran.
			b := main.in(t).borrows("--host", "pc2", "--vram", "20G", "--wait", "3m", "--ttl", "5s", "--name", "deaf", "--",
				"sh", "-c", `trap '' TERM; echo $$; while :; do date +%s%N >"$0.new"; mv "$0.new" "$0"; sleep 0.02; done`, mark)
			until(t, waitLimit, "the command runs", func() bool { _, err := os.Stat(mark); return err == nil })
			c.harm(b)
			switch c.name {
			case "the owner is stopped":
				until(t, waitLimit, "the command has ended", b.ended)
				signal(pc2.cmd.Process, syscall.SIGCONT)
			case "the owner is killed":
				until(t, waitLimit, "the command has ended", b.ended)
				pc2.launch()
			}
			next := pc2.in(t).borrows("--vram", "20G", "--wait", "3m", "--name", "next", "--", "date", "+%s%N")
			if code := next.ends(pc2.daemon, waitLimit); code != 0 {
				t.Fatalf("the next one failed with %d: %s", code, next.err)
			}
			last, granted := instant(t, mustRead(t, mark)), instant(t, next.out.String())
			t.Logf("the command ended %s before its memory was granted again", time.Duration(granted-last))
			if last >= granted {
				t.Errorf("the former command ran until %s after the memory was granted again", time.Duration(last-granted))
			}
			if pid, _ := strconv.Atoi(strings.TrimSpace(b.out.String())); syscall.Kill(pid, 0) == nil && !isZombie(pid) {
				t.Errorf("the command %d still runs", pid)
			}
			if c.after != nil {
				c.after(b)
			}
			if code := b.ends(main.daemon, waitLimit); code == 0 {
				t.Error("it says that its command ended well")
			}
			l.agree(main, pc2)
		})
	}
}

// leasedOf lists the programs' leases of one host's devices by their holders.
func (h *labHost) leasedOf(host string) (out []string) {
	h.t.Helper()
	for _, g := range h.status().Gpus {
		for _, r := range g.Reservations {
			if g.Host == host && strings.HasPrefix(r.Holder, "client/") {
				out = append(out, r.Holder)
			}
		}
	}
	return out
}

// ended tells whether the program and its command are gone.
func (b *borrower) ended() bool {
	select {
	case err := <-b.done:
		b.done <- err
		return true
	default:
		return false
	}
}
