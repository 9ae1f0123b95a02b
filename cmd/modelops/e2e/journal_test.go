//go:build e2e

package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"modelops/messages"
)

// noModels is a daemon whose decisions are leases and declarations, so that nothing but the test makes any.
const noModels = "models: {declare: {tiny: {runtime: embedded, path: TINY}}}\n"

// decide makes n decisions that stay visible in the ledger.
func (d *daemon) decide(n int) {
	d.t.Helper()
	nc := d.nats()
	for i := range n {
		r := &messages.ReserveVram{Lease: fmt.Sprintf("%s-%d", d.at.Boot, i), Holder: "client/e2e", Bytes: 1 << 20, TtlSeconds: 3600}
		if _, err := command(nc, messages.GPUActor("main_pc", "cpu"), r); err != nil {
			d.t.Fatal(err)
		}
	}
}

// fails starts the process, which must end by itself with the exit code, and returns what it said.
func (d *daemon) fails(code int) string {
	d.t.Helper()
	log := d.log
	d.log = &buffer{}
	defer func() { d.log = log }()
	d.spawn()
	d.awaitExit(waitLimit)
	if got := d.cmd.ProcessState.ExitCode(); got != code {
		d.t.Errorf("exit code %d, want %d: %s", got, code, d.log)
	}
	return d.log.String()
}

func (d *daemon) journalDir() string { return filepath.Join(d.state(), "journal") }

// blocks are the files that the journal's decisions lie in, in order.
func (d *daemon) blocks() []string {
	d.t.Helper()
	found, err := filepath.Glob(filepath.Join(d.journalDir(), "jetstream", "*", "streams", "JOURNAL", "msgs", "*.blk"))
	if err != nil || len(found) == 0 {
		d.t.Fatalf("no blocks in %s: %v", d.journalDir(), err)
	}
	slices.Sort(found)
	return found
}

// change rewrites a file.
func change(t *testing.T, path string, how func([]byte) []byte) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, how(raw), 0o644); err != nil {
		t.Fatal(err)
	}
}

// fingerprint is that of every file under dir, except the lock, which names the last process.
func fingerprint(t *testing.T, dir string) string {
	t.Helper()
	sum := sha256.New()
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() || info.Name() == "lock" {
			return err
		}
		raw, err := os.ReadFile(path)
		fmt.Fprintf(sum, "%s %d\n", path, len(raw))
		sum.Write(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// atRest stops the daemon. It returns the last block of its journal, and a copy of its state.
func (d *daemon) atRest() (block, whole string) {
	d.t.Helper()
	if code := d.stop(); code != 0 {
		d.t.Fatalf("exit code %d", code)
	}
	block, whole = d.blocks()[len(d.blocks())-1], filepath.Join(d.t.TempDir(), "whole")
	copyTree(d.t, d.state(), whole)
	return block, whole
}

// TestS28DamagedJournal: what was acknowledged and is unreadable stops the start, by sequence, and every byte stays.
func TestS28DamagedJournal(t *testing.T) {
	d := start(t, noModels)
	d.decide(20)
	block, whole := d.atRest()
	for _, c := range []struct {
		name   string
		harm   func()
		says   []string
		verify int
	}{
		{"a flipped byte", func() {
			change(t, block, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		}, []string{"sequence ", "changed"}, 7},
		{"a flipped byte in the last decision", func() {
			change(t, block, func(b []byte) []byte { b[len(b)-20] ^= 1; return b })
		}, []string{"sequence "}, 7},
		{"a cut last block", func() {
			change(t, block, func(b []byte) []byte { return b[:len(b)-100] })
		}, []string{"sequence "}, 7},
		{"a lost block", func() {
			if err := os.Remove(block); err != nil {
				t.Fatal(err)
			}
		}, []string{"sequence 1:", "acknowledged"}, 7},
		{"a journal that was emptied", func() {
			if err := os.RemoveAll(filepath.Join(d.journalDir(), "jetstream")); err != nil {
				t.Fatal(err)
			}
		}, []string{"sequence 1:", "acknowledged"}, 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			outer := d.t
			d.t = t
			defer func() { d.t = outer }()
			if err := os.RemoveAll(d.state()); err != nil {
				t.Fatal(err)
			}
			copyTree(t, whole, d.state())
			c.harm()
			before := fingerprint(t, d.journalDir())
			said := d.fails(7)
			for _, want := range append(c.says, "modelops") {
				if !strings.Contains(said, want) {
					t.Errorf("it doesn't speak of %q:\n%s", want, said)
				}
			}
			if after := fingerprint(t, d.journalDir()); after != before {
				t.Error("the refused start changed the journal")
			}
			if got := d.cli("journal", "verify"); got.code != c.verify {
				t.Errorf("journal verify: exit code %d, want %d: %s", got.code, c.verify, got)
			}
		})
	}
}

// TestS28HarmlessLoss: caches may be lost, and a half-written last record was never acknowledged.
func TestS28HarmlessLoss(t *testing.T) {
	d := start(t, noModels)
	d.decide(20)
	before := d.picture()
	for _, c := range []struct {
		name string
		harm func()
	}{
		{"no index", func() {
			index := filepath.Join(filepath.Dir(d.blocks()[0]), "index.db")
			if err := os.Remove(index); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		}},
		{"no snapshots", func() {
			found, err := filepath.Glob(filepath.Join(d.journalDir(), "jetstream", "*", "streams", "KV_*"))
			if err != nil || len(found) == 0 {
				t.Fatalf("no bucket of snapshots: %v", err)
			}
			for _, dir := range found {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"half a record behind the last", func() {
			block := d.blocks()[len(d.blocks())-1]
			change(t, block, func(b []byte) []byte {
				return append(b, b[:60]...)
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			outer := d.t
			d.t = t
			defer func() { d.t = outer }()
			if code := d.stop(); code != 0 {
				t.Fatalf("exit code %d", code)
			}
			c.harm()
			d.launch()
			differences(t, before, d.picture())
			if got := d.cli("replay"); got.code != 0 {
				t.Errorf("replay: exit code %d, %s", got.code, got)
			}
		})
	}
	d.decide(1)
}

// TestSecondProcess on the same directory: it is refused with the first one's pid, and the first goes on.
func TestSecondProcess(t *testing.T) {
	d := start(t, noModels)
	d.decide(1)
	second := &daemon{t: t, binary: binary, dir: d.dir, env: d.env, log: &buffer{}}
	said := second.fails(5)
	if !strings.Contains(said, fmt.Sprint(d.at.PID)) || !strings.Contains(said, d.journalDir()) {
		t.Errorf("it said %s", said)
	}
	d.decide(1)
	d.answers("tiny")
	if got := d.cli("journal", "verify"); got.code != 5 {
		t.Errorf("journal verify beside a daemon: exit code %d, %s", got.code, got)
	}
	if !d.announced() {
		t.Error("daemon.json was changed")
	}
	if code := d.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestUnwritable: a directory that can't be written is a clear error.
func TestUnwritable(t *testing.T) {
	t.Run("a file in its place", func(t *testing.T) {
		d := prepare(t, base+noModels)
		d.write("state", "I am a file")
		if said := d.fails(3); !strings.Contains(said, d.state()) {
			t.Errorf("it said %s", said)
		}
	})
	t.Run("read-only", func(t *testing.T) {
		d := prepare(t, base+noModels)
		mount(t, d.state(), "ro,size=1m")
		if said := d.fails(3); !strings.Contains(said, d.state()) || !strings.Contains(said, "read-only") {
			t.Errorf("it said %s", said)
		}
	})
}

// TestOtherHost: a journal keeps the name of its host.
func TestOtherHost(t *testing.T) {
	d := start(t, noModels)
	d.decide(1)
	d.stop()
	d.env = append(d.env, "MOC_HOST=pc2")
	if said := d.fails(5); !strings.Contains(said, "main_pc") || !strings.Contains(said, "pc2") {
		t.Errorf("it said %s", said)
	}
}

// TestFullDisk: decisions are refused, reads and ready models work; when space is back, decisions do too, without a restart.
func TestFullDisk(t *testing.T) {
	d := prepare(t, base+"journal: {min_free_mb: 8}\n"+oneTiny)
	mount(t, d.state(), "size=64m")
	d.launch()
	d.awaitPhase("tiny", "ready")
	d.answers("tiny")
	ballast := filepath.Join(d.state(), "ballast")
	if err := os.WriteFile(ballast, bytes.Repeat([]byte{1}, 63<<20), 0o644); err != nil && !strings.Contains(err.Error(), "no space") {
		t.Fatal(err)
	}
	nc := d.nats()
	lease := &messages.ReserveVram{Lease: "l1", Holder: "client/e2e", Bytes: 1 << 20, TtlSeconds: 3600}
	gpu := messages.GPUActor("main_pc", "cpu")
	if _, err := command(nc, gpu, lease); messages.CodeOf(err) != messages.JournalFull {
		t.Errorf("a decision without space: %v", err)
	}
	d.answers("tiny")
	if a := d.get("/health"); a.status != 503 || !strings.Contains(string(a.body), "journal") {
		t.Errorf("/health: %s", a)
	}
	if len(d.picture()) == 0 {
		t.Error("no actor can be read")
	}
	if got := d.cli("journal", "tail", "-n", "1"); got.code != 0 {
		t.Errorf("journal tail: exit code %d, %s", got.code, got)
	}
	if a := d.post("/v1/chat/completions", question("lazy", france), "X-Request-Timeout", "2"); a.status == 200 || a.err != nil {
		t.Errorf("a load without space: %s", a)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	d.until(waitLimit, "decisions work again", func() bool {
		_, err := command(nc, gpu, lease)
		return err == nil
	})
	d.until(waitLimit, "health is back", func() bool { return d.get("/health").status == 200 })
	d.answers("lazy")
	if got := d.cli("replay"); got.code != 0 {
		t.Errorf("replay: exit code %d, %s", got.code, got)
	}
	if code := d.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got := d.cli("journal", "verify"); got.code != 0 {
		t.Errorf("journal verify: exit code %d, %s", got.code, got)
	}
}
