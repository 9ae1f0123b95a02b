//go:build e2e

package e2e_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ballast fills the daemon's file system, at once and to the last block.
type ballast struct {
	t    *testing.T
	path string
}

func (b ballast) fill() {
	b.t.Helper()
	f, err := os.OpenFile(b.path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		b.t.Fatal(err)
	}
	defer f.Close()
	var s unix.Statfs_t
	for step := int64(64 << 20); step >= 4096; step /= 2 { // what is left after one step is less than it
		for {
			if err := unix.Fstatfs(int(f.Fd()), &s); err != nil {
				b.t.Fatal(err)
			}
			at, err := f.Seek(0, 2)
			if err != nil {
				b.t.Fatal(err)
			}
			if err := unix.Fallocate(int(f.Fd()), 0, at, step); errors.Is(err, syscall.ENOSPC) {
				break
			} else if err != nil {
				b.t.Fatal(err)
			}
		}
	}
}

func (b ballast) free() {
	b.t.Helper()
	if err := os.Remove(b.path); err != nil {
		b.t.Fatal(err)
	}
}

// TestChaosFullDisk fills the disk of the data directory while models are loaded, unloaded and evicted, again and again, at any moment of a
// write. Requests end meanwhile, with the reason; /health says it; once there is space all goes on in the same process. Then the daemon is
// killed while the disk is full: it doesn't start before there is space, and then nothing is lost.
func TestChaosFullDisk(t *testing.T) {
	c := pressable(t, "journal: {min_free_mb: 1}\n")
	mount(t, c.state(), "size=96m")
	full := ballast{t, filepath.Join(c.state(), "ballast")}
	c.launch()
	c.awaitPhase("light", "ready")
	p := c.press()
	first := c.cmd.Process.Pid
	for i := range often("FILLS", 3) {
		due(time.Now().Add(time.Duration(c.chance.IntN(1500)) * time.Millisecond))
		full.fill()
		c.until(waitLimit, "/health names the disk", func() bool {
			a := c.get("/health")
			return a.status == 503 && strings.Contains(string(a.body), "journal")
		})
		refused := p.count("JOURNAL_FULL", "ResourceExhausted")
		p.allEnded("on a full disk")
		p.until("a request is refused with the reason", func() bool { return p.count("JOURNAL_FULL", "ResourceExhausted") > refused })
		full.free()
		ok := p.count("OK")
		p.until("requests are answered again", func() bool { return p.count("OK") > ok+2*len(pressured) })
		t.Logf("disk full %d times: %s", i+1, p.fates())
	}
	if c.cmd.Process.Pid != first || !c.running() {
		t.Error("the daemon was started again")
	}
	full.fill()
	c.until(waitLimit, "/health names the disk", func() bool { return c.get("/health").status == 503 })
	c.kill()
	c.spawn()
	c.awaitExit(waitLimit)
	if code := c.cmd.ProcessState.ExitCode(); code == 0 || !strings.Contains(c.log.tail(30), "disk") {
		t.Errorf("a start on a full disk ended with %d:\n%s", code, c.log.tail(30))
	}
	full.free()
	c.launch()
	p.endsWell("after a full disk")
}
