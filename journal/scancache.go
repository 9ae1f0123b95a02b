package journal

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"modelops/messages"
)

// scanCacheFile holds the scan cache: what each sealed block held when it was last read whole. A start reads only the blocks that changed
// since. A block counts as unchanged when its inode, size, mtime and ctime are the same: every write to a file changes its ctime. A bit
// that flips on the disk changes no time, so recheck reads the skipped blocks after the start, while the journal works.
//
// The cache may be deleted: without it, or when it can't be parsed, every block is read.
const scanCacheFile = "scans.json"

// cachedScan is a block's scan as it lies in the cache.
type cachedScan struct {
	Inode, Size  uint64
	Mtime, Ctime int64 // nanoseconds
	Host         string
	First, Last  uint64
	Count        uint64
	Heads        map[string]link
	Types        []eventKind // of events: a build that doesn't know one of them reads the block itself
}

// scanCache holds cached scans by the block's file name.
type scanCache map[string]cachedScan

func readScanCache(dir string) scanCache {
	b, err := os.ReadFile(filepath.Join(dir, scanCacheFile))
	if err != nil {
		return nil
	}
	var cache scanCache
	if json.Unmarshal(b, &cache) != nil {
		return nil
	}
	return cache
}

// saveScanCache caches the scans of all blocks but the last, which the server still writes to. A failure costs the next start time, nothing else.
func saveScanCache(dir string, found []scan) error {
	if len(found) < 2 {
		return nil
	}
	cache := scanCache{}
	for _, s := range found[:len(found)-1] {
		if len(s.problems) > 0 || s.foreign != nil || s.end != nil || s.id == (stamp{}) {
			continue
		}
		k := cachedScan{Host: s.host, First: s.first, Last: s.last, Count: s.count, Heads: s.heads, Types: slices.Collect(maps.Keys(s.types))}
		k.Inode, k.Size, k.Mtime, k.Ctime = s.id.inode, s.id.size, s.id.mtime, s.id.ctime
		cache[filepath.Base(s.block.path)] = k
	}
	b, err := json.Marshal(cache)
	if err != nil {
		return err
	}
	next := filepath.Join(dir, scanCacheFile+".next")
	if err := os.WriteFile(next, b, 0o644); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(dir, scanCacheFile))
}

// stamp identifies the content of a file as far as the file system tells.
type stamp struct {
	inode, size  uint64
	mtime, ctime int64
}

func (k cachedScan) stamp() stamp { return stamp{k.Inode, k.Size, k.Mtime, k.Ctime} }

func stampOf(path string) (stamp, error) {
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		return stamp{}, err
	}
	return stamp{inode: s.Ino, size: uint64(s.Size), mtime: s.Mtim.Nano(), ctime: s.Ctim.Nano()}, nil
}

// find returns the cached scan of a block that didn't change since it was read whole.
func (c scanCache) find(b block) (scan, bool) {
	old, ok := c[filepath.Base(b.path)]
	if !ok {
		return scan{}, false
	}
	now, err := stampOf(b.path)
	if err != nil || now != old.stamp() || old.Count > 0 && len(old.Types) == 0 {
		return scan{}, false
	}
	types := map[eventKind]bool{}
	for _, t := range old.Types {
		if !messages.KnowsEvent(t.Type, t.Version) {
			return scan{}, false
		}
		types[t] = true
	}
	return scan{block: b, id: now, cached: true, host: old.Host, first: old.First, last: old.Last, count: old.Count,
		bytes: int64(old.Size), heads: old.Heads, types: types}, true
}

// recheck reads the blocks that the start skipped. When it finds damage, the journal refuses every append from then on and Health returns
// the damage; nothing on disk is changed.
func (j *Journal) recheck(skipped []block) {
	if pause(j.stopped, j.o.recheckAfter) != nil {
		return
	}
	var buf []byte
	for _, b := range skipped {
		began := time.Now()
		var s scan
		var err error
		s, buf, err = scanBlock(b, buf)
		if err == nil && s.end != nil {
			s.problems = append(s.problems, *s.end)
		}
		if err == nil && len(s.problems) > 0 {
			err = Report{Dir: j.o.Dir, Problems: s.problems}.Err()
		}
		if err != nil && j.stopped.Err() == nil {
			j.damage.Store(messages.AsError(err))
			j.o.Log.Error("a part of the journal that didn't change since its last check is damaged", "error", err)
			return
		}
		if pause(j.stopped, time.Since(began)) != nil { // at most half of one core
			return
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
