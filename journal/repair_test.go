package journal

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"modelops/messages"
)

// copyOf writes a copy of a store.
func copyOf(t *testing.T, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := WriteCopy(t.Context(), &b, testHost, func(ctx context.Context, fn func(messages.Recorded) error) error { return ReadStore(ctx, dir, fn) }); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// restoreCopy is what `modelops restore` does with a file.
func restoreCopy(t *testing.T, o Options, file []byte) (Restored, error) {
	t.Helper()
	c, err := OpenCopy("copy", bytes.NewReader(file))
	if err != nil {
		return Restored{}, err
	}
	return Restore(t.Context(), o, c.Read)
}

// kindsOfDamage are those that refuse a start, and the files besides the blocks.
func kindsOfDamage() []damageCase {
	return append(damages(),
		damageCase{"the mark gone and a byte flipped", func(t *testing.T, o Options) {
			os.Remove(filepath.Join(o.Dir, markFile))
			edit(t, onlyBlock(t, o), flipAt("reason 000099", 3))
		}, "", 99},
		damageCase{"the mark unreadable and a byte flipped", func(t *testing.T, o Options) {
			edit(t, filepath.Join(o.Dir, markFile), func([]byte) []byte { return []byte("garbage") })
			edit(t, onlyBlock(t, o), flipAt("reason 000099", 3))
		}, "", 99},
	)
}

// Whatever the damage is: Repair keeps every decision before it, says what is lost, and keeps the damaged store with every byte. The journal
// opens and goes on.
func TestRepairKeepsTheGoodPrefix(t *testing.T) {
	for _, c := range kindsOfDamage() {
		t.Run(c.name, func(t *testing.T) {
			o := damagedStore(t)
			j := mustOpen(t, o)
			want := readAll(t, j, Query{})[:c.good]
			mustClose(t, j)
			c.damage(t, o)
			harmed := blocksOf(t, o.Dir)
			done, err := Repair(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if done.Last != uint64(c.good) || done.Cause == "" {
				t.Errorf("%+v, want %d decisions", done, c.good)
			}
			if lost := done.Lost; c.good < damagedSize && (lost == nil || lost.First != uint64(c.good)+1 || lost.Last < 100 || lost.Last > damagedSize) {
				t.Errorf("lost %+v", lost)
			}
			if kept := blocksOf(t, done.Kept); kept != harmed {
				t.Error("the damaged store isn't kept as it was")
			}
			if r, err := Verify(t.Context(), o.Dir); err != nil || r.Err() != nil || r.Mark != uint64(c.good) {
				t.Errorf("verify: %v %v, mark %d", err, r.Err(), r.Mark)
			}
			j = mustOpen(t, o)
			got := readAll(t, j, Query{})
			if len(got) != len(want) {
				t.Fatalf("%d decisions, want %d", len(got), len(want))
			}
			for i := range got {
				if got[i].ID != want[i].ID || got[i].Sequence != want[i].Sequence || !got[i].At.Equal(want[i].At) {
					t.Errorf("got %+v, want %+v", got[i], want[i])
				}
			}
			head, err := j.Last(t.Context(), modelName(1))
			if err != nil {
				t.Fatal(err)
			}
			mustAppend(t, j, modelName(1), head, wanted("on")...)
			mustClose(t, j)
			mustClose(t, mustOpen(t, o))
		})
	}
}

// blocksOf is what the blocks of a store hold, by name.
func blocksOf(t *testing.T, dir string) string {
	t.Helper()
	if dir == "" {
		return ""
	}
	blocks, err := listBlocks(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, b := range blocks {
		bytes, err := os.ReadFile(b.path)
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString(filepath.Base(b.path))
		out.Write(bytes)
	}
	return out.String()
}

func TestRepairOfAnIntactJournalIsRefused(t *testing.T) {
	o := damagedStore(t)
	before := digest(t, o.Dir)
	_, err := Repair(t.Context(), o)
	wantCode(t, err, messages.FailedPrecondition)
	if digest(t, o.Dir) != before {
		t.Error("something changed")
	}
	o.Dir = filepath.Join(t.TempDir(), "none")
	_, err = Repair(t.Context(), o)
	wantCode(t, err, messages.NotFound)
}

func TestRepairWaitsForNobody(t *testing.T) {
	o := damagedStore(t)
	j := mustOpen(t, o)
	_, err := Repair(t.Context(), o)
	wantCode(t, err, messages.Conflict)
	mustClose(t, j)
}

// A journal that is restored from a copy in a file holds what it held, whatever the damage was.
func TestRestoreFromACopyInAFile(t *testing.T) {
	for _, c := range kindsOfDamage() {
		t.Run(c.name, func(t *testing.T) {
			o := damagedStore(t)
			file := copyOf(t, o.Dir)
			before := blocksOf(t, o.Dir)
			c.damage(t, o)
			done, err := restoreCopy(t, o, file)
			if err != nil || done.Last != damagedSize || done.Lost != nil {
				t.Fatalf("%+v, %v", done, err)
			}
			if r, err := Verify(t.Context(), o.Dir); err != nil || r.Err() != nil {
				t.Errorf("verify: %v %v", err, r.Err())
			}
			if again := copyOf(t, o.Dir); !bytes.Equal(again, file) {
				t.Error("a copy of the restored journal isn't the copy")
			}
			if len(blocksOf(t, o.Dir)) != len(before) {
				t.Error("the blocks have another size than before")
			}
			mustClose(t, mustOpen(t, o))
		})
	}
}

// A copy that was cut or changed restores nothing, wherever the cut or the change is.
func TestACopyThatIsNotWholeRestoresNothing(t *testing.T) {
	o := damagedStore(t)
	file := copyOf(t, o.Dir)
	edit(t, onlyBlock(t, o), flipAt("reason 000099", 3))
	before := digest(t, o.Dir)
	lines := bytes.SplitAfter(file, []byte("\n"))
	changed := bytes.Clone(file)
	changed[len(changed)/2] ^= 1
	for name, bad := range map[string][]byte{
		"empty":                 nil,
		"no copy":               []byte("hello\n"),
		"cut in a line":         file[:len(file)/2],
		"cut between lines":     bytes.Join(lines[:100], nil),
		"its last line is gone": bytes.Join(lines[:len(lines)-2], nil),
		"its last line is cut":  file[:len(file)-10],
		"a byte changed":        changed,
		"a decision is missing": bytes.Join(append(append([][]byte{}, lines[:50]...), lines[51:]...), nil),
		"of the future":         []byte(`{"modelops_journal":99,"host":"main_pc"}` + "\n"),
	} {
		if _, err := restoreCopy(t, o, bad); err == nil {
			t.Errorf("%s: restored", name)
		}
		if digest(t, o.Dir) != before {
			t.Fatalf("%s: something changed on disk", name)
		}
	}
}

// A restore never takes decisions out of service that can be read, and never another host's journal.
func TestRestoreOverAnIntactJournal(t *testing.T) {
	o := damagedStore(t)
	file := copyOf(t, o.Dir)
	j := mustOpen(t, o)
	head, err := j.Last(t.Context(), modelName(1))
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, j, modelName(1), head, wanted("newer than the copy")...)
	mustClose(t, j)
	_, err = restoreCopy(t, o, file)
	wantCode(t, err, messages.FailedPrecondition)
	if r, err := Verify(t.Context(), o.Dir); err != nil || r.Err() != nil || r.Last != damagedSize+1 {
		t.Errorf("%d: %v %v", r.Last, err, r.Err())
	}
	o.Host = "pc2"
	_, err = restoreCopy(t, o, file)
	wantCode(t, err, messages.FailedPrecondition)
}

// A restore that was killed leaves the old store or the new one, never what looks like a new journal. Here it ended between its steps.
func TestARestoreThatWasCutOffCanBeRepeated(t *testing.T) {
	o := damagedStore(t)
	file := copyOf(t, o.Dir)
	edit(t, onlyBlock(t, o), func(b []byte) []byte { from, _ := recordAt(t, b, 50); return b[:from] })
	fresh, live, kept := filepath.Join(o.Dir, "restoring", "jetstream"), filepath.Join(o.Dir, "jetstream"), filepath.Join(o.Dir, "damaged-1")
	if err := os.MkdirAll(filepath.Dir(fresh), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(kept, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(fresh, os.DirFS(live)); err != nil { // a store that is shorter than the mark
		t.Fatal(err)
	}
	if _, err := exchange(fresh, live, filepath.Join(kept, "jetstream")); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), o)
	wantCode(t, err, messages.JournalDamaged)
	if done, err := restoreCopy(t, o, file); err != nil || done.Last != damagedSize {
		t.Fatalf("%+v %v", done, err)
	}
	mustClose(t, mustOpen(t, o))
	if left, err := os.ReadDir(kept); err != nil || len(left) == 0 {
		t.Errorf("the damaged store is gone: %v", err)
	}
}
