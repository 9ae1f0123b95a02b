//go:build e2e

package e2e_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestDamageHasAWayBack: a damaged journal refuses the start and names the two commands that bring it back. After each of them the daemon starts,
// the journal verifies, and the worker that lived through it all is adopted, or ended when the journal doesn't know it any more.
func TestDamageHasAWayBack(t *testing.T) {
	d := start(t, oneDevice("", plays(t, "it", "", "vram_mb: 20000")))
	asks := func() {
		t.Helper()
		if _, a := d.chat("it", "hello"); a.status != 200 {
			t.Fatalf("%s", a)
		}
	}
	asks()
	worker := int(d.awaitPhase("it", "ready").GetWorker().GetPid())
	copied := filepath.Join(t.TempDir(), "copy")
	ok := func(args ...string) {
		t.Helper()
		if got := d.cli(args...); got.code != 0 {
			t.Fatalf("%v: exit code %d, %s", args, got.code, got)
		}
	}
	damage := func(near string) {
		t.Helper()
		d.kill()
		change(t, d.blocks()[0], func(b []byte) []byte { b[bytes.Index(b, []byte(near))+2] ^= 1; return b })
		said := d.fails(7)
		for _, way := range []string{"modelops restore --from", "modelops journal repair"} {
			if !strings.Contains(said, way) {
				t.Errorf("the refused start doesn't name %s:\n%s", way, said)
			}
		}
	}

	ok("journal", "export", copied)
	damage("model.ready")
	ok("restore", "--from", copied)
	ok("journal", "verify")
	d.launch()
	if v := d.awaitPhase("it", "ready"); int(v.GetWorker().GetPid()) != worker {
		t.Errorf("the worker was %d and is %d", worker, v.GetWorker().GetPid())
	}
	asks()

	damage("model.wanted") // what is left knows no worker
	if got := d.cli("journal", "repair"); got.code != 0 || !strings.Contains(got.out, "are lost") {
		t.Fatalf("journal repair: exit code %d, %s", got.code, got)
	}
	ok("journal", "verify")
	d.launch()
	d.until(waitLimit, "the worker of the lost part has ended, or is the model's", func() bool {
		return syscall.Kill(worker, 0) != nil || int(d.model("it").GetWorker().GetPid()) == worker
	})
	asks()
	if got := d.cli("replay"); got.code != 0 {
		t.Errorf("replay: exit code %d, %s", got.code, got)
	}
	if code := d.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	ok("journal", "verify")
}
