package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/journal"
	"modelops/messages"
)

// journalOnDisk is a data directory with the journal of a stopped daemon: one device, two leases, of which one has ended.
func journalOnDisk(t *testing.T) (dataDir string) {
	t.Helper()
	dir := t.TempDir()
	j, err := journal.Open(t.Context(), journal.Options{Dir: filepath.Join(dir, "journal"), Host: "pc", BootID: "b", Port: -1})
	if err != nil {
		t.Fatal(err)
	}
	gpu := messages.GPUActor("pc", "cpu")
	var last uint64
	for i, e := range []proto.Message{
		&messages.DeviceRegistered{Kind: "cpu", CapacityBytes: 100 << 20},
		&messages.VramReserved{Lease: "a", Holder: "client/a", Bytes: 30 << 20},
		&messages.VramReserved{Lease: "b", Holder: "client/b", Bytes: 20 << 20},
		&messages.VramReleased{Lease: "a"},
	} {
		at := noon.Add(time.Duration(i) * time.Minute)
		if last, err = j.Append(t.Context(), journal.Append{Actor: gpu, Expected: last, Events: []proto.Message{e}, At: at}); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// offline runs a command line against the files in dir; there is no daemon.
func offline(t *testing.T, dir string, args ...string) (code int, out, errs string) {
	t.Helper()
	t.Setenv("MODELOPS_SERVER", "")
	t.Chdir(t.TempDir()) // without a cluster.yaml
	var stdout, stderr bytes.Buffer
	code = Run(context.WithoutCancel(t.Context()), Program{}, append([]string{"--data-dir", dir}, args...), strings.NewReader(""), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

func TestTheJournalOfAStoppedDaemonIsRead(t *testing.T) {
	dir := journalOnDisk(t)
	for line, want := range map[string][]string{
		"journal verify":                               {"intact: host pc, sequences 1 to 4, 4 decisions of 1 actors, "},
		"journal tail -n 1":                            {"4  ", "gpu/pc/cpu  gpu.vram_released  {"},
		"journal tail --type gpu":                      {"1  ", "2  ", "3  ", "4  "},
		"journal tail --actor gpu/cpu":                 {"gpu.registered"},
		"journal tail --type gpu.never":                {},
		"replay":                                       {"folded   gpu/pc/cpu at sequence 4\n", "the journal can be folded (there is no running daemon to compare with): 1 actors, 4 decisions, 4 events in "},
		"state gpu/cpu --view":                         {"gpu/pc/cpu at sequence 4, decided ", `"reserved_bytes": 20971520`},
		"state gpu/cpu --view --at 3":                  {"at sequence 3, ", `"reserved_bytes": 52428800`},
		"state gpu/cpu --at " + "2026-01-31T12:01:30Z": {"at sequence 2, "},
	} {
		code, out, errs := offline(t, dir, strings.Fields(line)...)
		if code != exitOK || len(want) == 0 && out != "" {
			t.Errorf("%s: %d %s%s", line, code, out, errs)
		}
		for _, text := range want {
			if !strings.Contains(out, text) {
				t.Errorf("%s: no %q in\n%s", line, text, out)
			}
		}
	}
}

// The JSON of the journal's commands is for scripts: its names stay.
func TestTheJournalAsJSON(t *testing.T) {
	dir := journalOnDisk(t)
	for line, names := range map[string][]string{
		"journal verify":    {"dir", "host", "first", "last", "decisions", "actors", "bytes", "blocks", "mark"},
		"journal tail -n 1": {"sequence", "at", "actor", "id", "correlation", "boot", "events"},
		"replay":            {"equal", "compared", "entities", "decisions", "events", "seconds", "events_per_second"},
		"state gpu/cpu":     {"actor", "sequence", "at", "state", "view"},
	} {
		code, out, errs := offline(t, dir, append(strings.Fields(line), "--json")...)
		got := map[string]json.RawMessage{}
		if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitOK {
			t.Errorf("%s: %d %v %s%s", line, code, err, out, errs)
		}
		for _, name := range names {
			if got[name] == nil {
				t.Errorf("%s has no %q:\n%s", line, name, out)
			}
		}
	}
}

func TestADamagedJournalHasItsExitCode(t *testing.T) {
	dir := journalOnDisk(t)
	blocks, err := filepath.Glob(filepath.Join(dir, "journal/jetstream/*/streams/JOURNAL/msgs/*.blk"))
	if err != nil || len(blocks) == 0 {
		t.Fatal("no blocks:", err)
	}
	b, err := os.ReadFile(blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 0xff
	if err := os.WriteFile(blocks[0], b, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"journal verify", "replay", "journal verify --json"} {
		code, out, errs := offline(t, dir, strings.Fields(line)...)
		if code != exitDamaged || errs == "" {
			t.Errorf("%s: %d %s%s", line, code, out, errs)
		}
	}
}
