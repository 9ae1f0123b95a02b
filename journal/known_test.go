package journal

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"modelops/messages"
)

// knownStore is a closed journal of several blocks whose sealed ones are known.
func knownStore(t *testing.T) (Options, []block) {
	t.Helper()
	o := testOptions(t, t.TempDir())
	o.noSync = true
	bulk(t, o, 60_000)
	mustClose(t, mustOpen(t, o))
	blocks, err := listBlocks(o.Dir)
	if err != nil || len(blocks) < 3 {
		t.Fatalf("%d blocks, the test needs 3: %v", len(blocks), err)
	}
	return o, blocks
}

func TestUnchangedBlocksAreNotReadAtTheStart(t *testing.T) {
	o, blocks := knownStore(t)
	j := mustOpen(t, o)
	if len(j.skipped) != len(blocks)-1 {
		t.Errorf("%d of %d blocks were skipped", len(j.skipped), len(blocks))
	}
	if got := j.Sequence(); got != 60_000 {
		t.Errorf("sequence %d", got)
	}
	mustAppend(t, j, modelName(3), 59_504, wanted("x")...) // the chain goes on over what was only remembered
	mustClose(t, j)
	if r, err := Verify(t.Context(), o.Dir); err != nil || r.Err() != nil || r.Last != 60_001 {
		t.Errorf("%+v %v %v", r.Last, err, r.Err())
	}
}

// Whoever changes a sealed block moves its ctime, whatever else he puts back.
func TestAChangedBlockIsReadAgain(t *testing.T) {
	o, blocks := knownStore(t)
	info, err := os.Stat(blocks[0].path)
	if err != nil {
		t.Fatal(err)
	}
	edit(t, blocks[0].path, flipAt("id-00000099", 3))
	if err := os.Chtimes(blocks[0].path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), o)
	wantCode(t, err, messages.JournalDamaged)
}

// A disk that changes a byte by itself moves no time: the start believes, and the check after it finds out.
func TestRotIsFoundAfterTheStart(t *testing.T) {
	o, blocks := knownStore(t)
	edit(t, blocks[0].path, flipAt("id-00000099", 3))
	known := readKnown(o.Dir)
	k := known[filepath.Base(blocks[0].path)]
	now, err := stampOf(blocks[0].path)
	if err != nil {
		t.Fatal(err)
	}
	k.Inode, k.Size, k.Mtime, k.Ctime = now.inode, now.size, now.mtime, now.ctime
	known[filepath.Base(blocks[0].path)] = k
	b, err := json.Marshal(known)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(o.Dir, knownFile), b, 0o644); err != nil {
		t.Fatal(err)
	}
	o.recheckAfter = time.Millisecond
	j := mustOpen(t, o)
	tick, deadline := time.NewTicker(10*time.Millisecond), time.After(20*time.Second)
	defer tick.Stop()
	for j.rot.Load() == nil {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("nobody noticed")
		}
	}
	wantCode(t, j.Health(), messages.JournalDamaged)
	_, err = j.Append(t.Context(), Append{Actor: modelName(3), Expected: 59_504, Events: wanted("x"), At: time.Unix(1, 0)})
	wantCode(t, err, messages.JournalDamaged)
}

func TestNonsenseIsNotKnown(t *testing.T) {
	o, blocks := knownStore(t)
	if err := os.WriteFile(filepath.Join(o.Dir, knownFile), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if j := mustOpen(t, o); len(j.skipped) != 0 {
		t.Errorf("%d of %d blocks were believed", len(j.skipped), len(blocks))
	}
}
