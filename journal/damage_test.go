package journal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"modelops/messages"
)

const damagedSize = 200

// damagedStore is a closed journal of damagedSize decisions.
func damagedStore(t *testing.T) Options {
	t.Helper()
	o := testOptions(t, t.TempDir())
	o.noSync = true
	j := mustOpen(t, o)
	fill(t, j, damagedSize)
	mustClose(t, j)
	o.noSync = false
	return o
}

func onlyBlock(t *testing.T, o Options) string {
	t.Helper()
	blocks, err := listBlocks(o.Dir)
	if err != nil || len(blocks) != 1 {
		t.Fatalf("blocks %v, %v", blocks, err)
	}
	return blocks[0].path
}

func edit(t *testing.T, path string, change func(b []byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func flipAt(marker string, off int) func([]byte) []byte {
	return func(b []byte) []byte {
		b[bytes.Index(b, []byte(marker))+off] ^= 0x40
		return b
	}
}

// digest of all files, their names and sizes included; the lock's content is ours to change.
func digest(t *testing.T, dir string) string {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() == "lock" {
			return err
		}
		h.Write([]byte(path))
		if d.IsDir() {
			return nil
		}
		b, err := os.ReadFile(path)
		h.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(h.Sum(nil))
}

func removeIndex(t *testing.T, o Options) {
	t.Helper()
	if err := os.Remove(filepath.Join(blocksDir(o.Dir), "index.db")); err != nil {
		t.Fatal(err)
	}
}

// recordAt finds where the record of a sequence begins, and where it ends.
func recordAt(t *testing.T, b []byte, sequence uint64) (int, int) {
	t.Helper()
	for at := 0; at < len(b); {
		r, err := parseRecord(b[at:], nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.sequence == sequence {
			return at, at + r.size
		}
		at += r.size
	}
	t.Fatalf("no record %d", sequence)
	return 0, 0
}

// Every row of the table in which NATS itself starts without a word, or with a warning, and loses decisions.
func TestDamageRefusesTheStartAndChangesNothing(t *testing.T) {
	for _, c := range damages() {
		t.Run(c.name, func(t *testing.T) {
			o := damagedStore(t)
			c.damage(t, o)
			before := digest(t, o.Dir)
			_, err := Open(t.Context(), o)
			e := wantCode(t, err, messages.JournalDamaged)
			if !strings.Contains(e.Error(), c.want) {
				t.Errorf("error %q does not say %q", e, c.want)
			}
			if digest(t, o.Dir) != before {
				t.Error("the refused start changed something on disk")
			}
			if r, err := Verify(t.Context(), o.Dir); err == nil && r.Err() == nil {
				t.Error("Verify finds nothing")
			}
		})
	}
}

// damageCase is one way in which a store of damagedSize decisions may be damaged.
type damageCase struct {
	name   string
	damage func(t *testing.T, o Options)
	want   string // in the error of a start
	good   int    // decisions before the damage
}

func damages() []damageCase {
	middle, last := "reason 000099", "reason 000199" // sequences 100 and 200
	return []damageCase{
		{"a byte flipped in the middle", func(t *testing.T, o Options) { edit(t, onlyBlock(t, o), flipAt(middle, 3)) }, "sequence 100:", 99},
		{"the same without index", func(t *testing.T, o Options) {
			edit(t, onlyBlock(t, o), flipAt(middle, 3))
			removeIndex(t, o)
		}, "sequence 100:", 99},
		{"a byte flipped in the last event", func(t *testing.T, o Options) { edit(t, onlyBlock(t, o), flipAt(last, 3)) }, "sequence 200:", 199},
		{"the same without index", func(t *testing.T, o Options) {
			edit(t, onlyBlock(t, o), flipAt(last, 3))
			removeIndex(t, o)
		}, "sequence 200:", 199},
		{"the last block cut", func(t *testing.T, o Options) {
			edit(t, onlyBlock(t, o), func(b []byte) []byte { return b[:len(b)-100] })
		}, "sequence 200:", 199},
		{"the last decision gone without a trace", func(t *testing.T, o Options) {
			edit(t, onlyBlock(t, o), func(b []byte) []byte { from, _ := recordAt(t, b, 200); return b[:from] })
		}, "ends at sequence 199, but sequence 200 was acknowledged", 199},
		{"the last two decisions gone, index too", func(t *testing.T, o Options) {
			edit(t, onlyBlock(t, o), func(b []byte) []byte { from, _ := recordAt(t, b, 199); return b[:from] })
			removeIndex(t, o)
		}, "ends at sequence 198, but sequence 200 was acknowledged", 198},
		{"a decision cut out of the middle", func(t *testing.T, o Options) {
			edit(t, onlyBlock(t, o), func(b []byte) []byte { from, to := recordAt(t, b, 50); return append(b[:from:from], b[to:]...) })
		}, "sequence 50:", 49},
		{"the first decision cut off", func(t *testing.T, o Options) {
			edit(t, onlyBlock(t, o), func(b []byte) []byte { _, to := recordAt(t, b, 1); return b[to:] })
		}, "sequence 1:", 0},
		{"a length flipped in the middle", func(t *testing.T, o Options) {
			edit(t, onlyBlock(t, o), func(b []byte) []byte { from, _ := recordAt(t, b, 70); b[from+2] ^= 0x7f; return b })
		}, "sequence 70:", 69},
		{"a sequence flipped", func(t *testing.T, o Options) {
			edit(t, onlyBlock(t, o), func(b []byte) []byte { from, _ := recordAt(t, b, 70); b[from+5] ^= 1; return b })
		}, "sequence 70:", 69},
		{"zeros at the end", func(t *testing.T, o Options) {
			edit(t, onlyBlock(t, o), func(b []byte) []byte { from, _ := recordAt(t, b, 200); clear(b[from:]); return b })
		}, "sequence 200:", 199},
		{"the block gone", func(t *testing.T, o Options) { os.Remove(onlyBlock(t, o)) }, "sequence 1: the journal ends at sequence 0, but sequence 200", 0},
		{"the whole store gone", func(t *testing.T, o Options) { os.RemoveAll(filepath.Join(o.Dir, "jetstream")) }, "but sequence 200", 0},
		{"garbage instead of the block", func(t *testing.T, o Options) {
			edit(t, onlyBlock(t, o), func(b []byte) []byte { return bytes.Repeat([]byte("garbage!"), 500) })
		}, "sequence 1:", 0},
		{"an empty block", func(t *testing.T, o Options) { edit(t, onlyBlock(t, o), func(b []byte) []byte { return nil }) }, "sequence 1:", 0},
		{"the mark unreadable", func(t *testing.T, o Options) {
			edit(t, filepath.Join(o.Dir, markFile), func(b []byte) []byte { return b[:3] })
		}, "mark can't be read", 200},
	}
}

func TestAMissingIndexIsNoDamage(t *testing.T) {
	o := damagedStore(t)
	removeIndex(t, o)
	j := mustOpen(t, o)
	if n := len(readAll(t, j, Query{})); n != damagedSize {
		t.Errorf("%d decisions", n)
	}
	mustAppend(t, j, modelName(77), 0, wanted("on")...)
}

// A write that kill -9 or a power cut stopped half-way was never acknowledged: the mark stands before it.
func TestATornEndBehindTheMarkIsCutOffAndKept(t *testing.T) {
	for _, c := range []struct {
		name string
		tear func(b []byte, from int) []byte
	}{
		{"head only", func(b []byte, from int) []byte { return b[:from+10] }},
		{"half a record", func(b []byte, from int) []byte { return b[:from+100] }},
		{"all but a byte", func(b []byte, from int) []byte { return b[:len(b)-1] }},
		{"zeros", func(b []byte, from int) []byte { clear(b[from:]); return b }},
		{"right length, wrong bytes", func(b []byte, from int) []byte { clear(b[from+60:]); return b }},
	} {
		for _, index := range []bool{true, false} {
			t.Run(c.name, func(t *testing.T) {
				o := damagedStore(t)
				if err := writeMark(o.Dir, mark{Host: testHost, Sequence: damagedSize - 1, BootID: "boot-1"}); err != nil {
					t.Fatal(err)
				}
				if !index {
					removeIndex(t, o)
				}
				var torn []byte
				edit(t, onlyBlock(t, o), func(b []byte) []byte {
					from, _ := recordAt(t, b, damagedSize)
					b = c.tear(b, from)
					torn = bytes.Clone(b[from:])
					return b
				})
				r, err := Verify(t.Context(), o.Dir)
				if err != nil || r.Err() != nil || r.Torn == nil || r.Torn.Sequence != damagedSize {
					t.Fatalf("Verify: %+v, %v, %v", r.Torn, r.Err(), err)
				}
				j := mustOpen(t, o)
				if n := len(readAll(t, j, Query{})); n != damagedSize-1 {
					t.Errorf("%d decisions are left", n)
				}
				head, _ := j.Last(t.Context(), modelName((damagedSize-1)%5))
				if seq := mustAppend(t, j, modelName((damagedSize-1)%5), head, wanted("again")...); seq != damagedSize {
					t.Errorf("the next decision got sequence %d", seq)
				}
				kept, _ := filepath.Glob(filepath.Join(o.Dir, "torn", "*"))
				if len(kept) != 1 {
					t.Fatalf("kept %v", kept)
				}
				if b, err := os.ReadFile(kept[0]); err != nil || !bytes.Equal(b, torn) {
					t.Errorf("the copy differs: %v", err)
				}
				mustClose(t, j)
				mustClose(t, mustOpen(t, o))
			})
		}
	}
}

// Bytes that merely look torn are damage when whole decisions follow.
func TestDamageBeforeWholeDecisionsIsNeverTorn(t *testing.T) {
	o := damagedStore(t)
	if err := writeMark(o.Dir, mark{Host: testHost, Sequence: 10}); err != nil {
		t.Fatal(err)
	}
	edit(t, onlyBlock(t, o), func(b []byte) []byte { from, _ := recordAt(t, b, 70); b[from+2] ^= 0x7f; return b })
	_, err := Open(t.Context(), o)
	if e := wantCode(t, err, messages.JournalDamaged); !strings.Contains(e.Error(), "sequence 70") {
		t.Errorf("%v", e)
	}
}

func TestReadOnlyReadsADamagedJournal(t *testing.T) {
	o := damagedStore(t)
	edit(t, onlyBlock(t, o), flipAt("reason 000099", 3))
	before := digest(t, o.Dir)
	o.ReadOnly, o.Port = true, 0
	j := mustOpen(t, o)
	var got []uint64
	err := j.Replay(t.Context(), Query{}, func(r messages.Recorded) error { got = append(got, r.Sequence); return nil })
	if e := wantCode(t, err, messages.JournalDamaged); !strings.Contains(e.Error(), "100") || len(got) != 99 {
		t.Errorf("read %d, then %v", len(got), e)
	}
	if n := len(readAll(t, j, Query{After: 100})); n != 100 {
		t.Errorf("%d decisions behind the damage", n)
	}
	_, err = j.Append(t.Context(), Append{Actor: modelName(1), Events: wanted("no")})
	wantCode(t, err, messages.JournalDamaged)
	wantCode(t, j.Health(), messages.JournalDamaged)
	wantCode(t, j.SaveSnapshot(t.Context(), Snapshot{Actor: modelName(1)}), messages.JournalUnavailable)
	if _, ok, err := j.LoadSnapshot(t.Context(), modelName(1)); ok || err != nil {
		t.Errorf("LoadSnapshot: %v %v", ok, err)
	}
	if a, err := j.Actors(t.Context()); len(a) != 5 || err != nil {
		t.Errorf("Actors: %v, %v", a, err)
	}
	if n, err := j.Last(t.Context(), modelName(4)); n != 200 || err != nil {
		t.Errorf("Last = %d, %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err = j.Follow(ctx, 190, func(messages.Recorded) error {
		if n++; n == 10 {
			cancel()
		}
		return nil
	})
	wantCode(t, err, messages.Cancelled)
	nc, err := j.Connect() // bridges still say what is wrong
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	mustClose(t, j)
	if digest(t, o.Dir) != before {
		t.Error("reading changed something on disk")
	}
}

// The server must serve what the blocks hold. Here its own description of the stream is gone.
func TestAStoreWhoseDescriptionIsGone(t *testing.T) {
	for _, file := range []string{"meta.inf", "meta.sum"} {
		for _, how := range []string{"gone", "changed"} {
			t.Run(file+" "+how, func(t *testing.T) {
				o := damagedStore(t)
				path := filepath.Join(filepath.Dir(blocksDir(o.Dir)), file)
				if how == "gone" {
					if err := os.Remove(path); err != nil {
						t.Fatal(err)
					}
				} else {
					edit(t, path, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
				}
				j, err := Open(t.Context(), o)
				if err == nil {
					if n := len(readAll(t, j, Query{})); n != damagedSize {
						t.Errorf("%d decisions", n)
					}
					mustClose(t, j)
					return
				}
				if code := messages.CodeOf(err); code != messages.JournalDamaged && code != messages.JournalUnavailable {
					t.Errorf("got %v", err)
				}
				if r, err := Verify(t.Context(), o.Dir); err != nil || r.Err() != nil || r.Decisions != damagedSize {
					t.Errorf("after the refused start the blocks hold %d: %v %v", r.Decisions, err, r.Err())
				}
				t.Log(err)
			})
		}
	}
}

func TestUnwritableDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), testOptions(t, filepath.Join(file, "below")))
	if e := wantCode(t, err, messages.JournalUnavailable); !strings.Contains(e.Error(), file) {
		t.Errorf("%v", e)
	}
	if os.Getuid() == 0 {
		return // root may write anywhere
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), testOptions(t, dir))
	if wantCode(t, err, messages.JournalUnavailable); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("%v", err)
	}
}

func TestAnotherHostsJournalIsRefused(t *testing.T) {
	o := damagedStore(t)
	o.Host = "pc2"
	_, err := Open(t.Context(), o)
	if e := wantCode(t, err, messages.FailedPrecondition); !strings.Contains(e.Error(), testHost) {
		t.Errorf("%v", e)
	}
}
