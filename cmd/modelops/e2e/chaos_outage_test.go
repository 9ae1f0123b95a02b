//go:build e2e

package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"modelops/messages"
)

// frozen is a file system of its own whose writes can be made to hang.
type frozen struct {
	t    *testing.T
	dir  string
	thaw func()
}

// mountImage puts a file system that can be frozen at dir until the test ends.
func mountImage(t *testing.T, dir string) *frozen {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil || os.Truncate(image, 512<<20) != nil || os.MkdirAll(dir, 0o755) != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{{"mkfs.ext4", "-q", image}, {"mount", "-o", "loop", image, dir}} {
		if said, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Skipf("no file system that can be frozen here (%v: %s): run as root with e2fsprogs", err, said)
		}
	}
	f := &frozen{t: t, dir: dir, thaw: func() {}}
	t.Cleanup(func() { f.thaw(); _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return f
}

// freeze lets every write wait until thaw. Should this test be killed, the helper reads the end of its pipe and thaws: what waits for a
// frozen file system can't even be killed.
func (f *frozen) freeze() {
	f.t.Helper()
	helper := exec.Command("/bin/sh", "-c", `fsfreeze -f "$1" && echo frozen; read line; fsfreeze -u "$1"`, "freeze", f.dir)
	helper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := helper.StdinPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	out, err := helper.StdoutPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := helper.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.thaw = func() {
		_ = in.Close()
		_ = helper.Wait()
		f.thaw = func() {}
	}
	if n, err := out.Read(make([]byte, 16)); n == 0 {
		f.t.Fatalf("the file system can't be frozen: %v", err)
	}
}

// outage is how long the journal is away: two minutes in `make chaos`.
func outage(t *testing.T) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(os.Getenv("OUTAGE"))
	if err != nil {
		return 15 * time.Second
	}
	return d
}

// TestChaosOutage takes the journal away (OUTAGE, two minutes in `make chaos`) while requests, loads and unloads go on and workers die: every
// write to its file system waits. Requests end meanwhile, or are answered by models that are ready. Afterwards every actor lives, in the same
// process, and nothing is lost or there twice.
func TestChaosOutage(t *testing.T) {
	t.Parallel() // it waits more than it works
	lasts := outage(t)
	c := pressable(t, "")
	disk := mountImage(t, c.journalDir())
	c.launch()
	c.awaitPhase("light", "ready")
	p := c.press()
	c.ensure("a")
	disk.freeze()
	end := time.Now().Add(lasts)
	dead := 0
	c.until(waitLimit, "/health says it", func() bool { return c.get("/health").status == 503 })
	for _, w := range carriers(c.dir) {
		if w.leader && syscall.Kill(w.pid, syscall.SIGKILL) == nil {
			dead++
		}
	}
	p.allEnded("without a journal")
	before := p.count("OK", "JOURNAL_UNAVAILABLE", "Unavailable", "UNAVAILABLE")
	due(end)
	p.allEnded("at the end of the outage")
	t.Logf("%d workers were killed; %d requests ended in the outage: %s", dead, p.count("OK", "JOURNAL_UNAVAILABLE", "Unavailable", "UNAVAILABLE")-before, p.fates())
	if !c.running() {
		t.Fatal("the daemon has ended")
	}
	disk.thaw()
	p.endsWell(fmt.Sprintf("after an outage of %s", lasts))
	for _, m := range c.status().Models {
		if m.Phase == messages.ModelView_failed {
			t.Errorf("%s failed: %v", m.Id, m.Error)
		}
	}
	if dead == 0 {
		t.Error("no worker was killed: the test shows little")
	}
}
