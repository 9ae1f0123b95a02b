package journal

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"modelops/messages"
)

// scannedStore is a closed journal of several blocks; the scan cache holds the sealed ones.
func scannedStore(t *testing.T) (Options, []block) {
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
	o, blocks := scannedStore(t)
	j := mustOpen(t, o)
	if len(j.skipped) != len(blocks)-1 {
		t.Errorf("%d of %d blocks were skipped", len(j.skipped), len(blocks))
	}
	if got := j.Sequence(); got != 60_000 {
		t.Errorf("sequence %d", got)
	}
	mustAppend(t, j, modelName(3), 59_504, wanted("x")...) // the chain goes on over what only the cache holds
	mustClose(t, j)
	if r, err := Verify(t.Context(), o.Dir); err != nil || r.Err() != nil || r.Last != 60_001 {
		t.Errorf("%+v %v %v", r.Last, err, r.Err())
	}
}

// A write to a sealed block changes its ctime, even when the writer restores size and mtime.
func TestAChangedBlockIsReadAgain(t *testing.T) {
	o, blocks := scannedStore(t)
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

// A byte that flips on the disk changes no time: the start trusts the cache, and the recheck after the start finds the damage.
func TestDamageIsFoundAfterTheStart(t *testing.T) {
	o, blocks := scannedStore(t)
	edit(t, blocks[0].path, flipAt("id-00000099", 3))
	cache := readScanCache(o.Dir)
	k := cache[filepath.Base(blocks[0].path)]
	now, err := stampOf(blocks[0].path)
	if err != nil {
		t.Fatal(err)
	}
	k.Inode, k.Size, k.Mtime, k.Ctime = now.inode, now.size, now.mtime, now.ctime
	cache[filepath.Base(blocks[0].path)] = k
	b, err := json.Marshal(cache)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(o.Dir, scanCacheFile), b, 0o644); err != nil {
		t.Fatal(err)
	}
	o.recheckAfter = time.Millisecond
	j := mustOpen(t, o)
	await(t, func() bool { return j.damage.Load() != nil })
	wantCode(t, j.Health(), messages.JournalDamaged)
	_, err = j.Append(t.Context(), Append{Actor: modelName(3), Expected: 59_504, Events: wanted("x"), At: time.Unix(1, 0)})
	wantCode(t, err, messages.JournalDamaged)
}

func TestAnUnreadableScanCacheIsIgnored(t *testing.T) {
	o, blocks := scannedStore(t)
	if err := os.WriteFile(filepath.Join(o.Dir, scanCacheFile), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if j := mustOpen(t, o); len(j.skipped) != 0 {
		t.Errorf("%d of %d blocks were not read", len(j.skipped), len(blocks))
	}
}
