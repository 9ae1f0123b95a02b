package journal

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"modelops/messages"
)

// knownFile remembers what sealed blocks held when they were last read whole, so that a start reads only what changed since. A block
// is taken for unchanged when its inode, size and both times of change are the same: whoever writes to a file moves its ctime. What a
// disk changes by itself moves nothing, so blocks that were skipped are read after the start (recheck), while the journal works.
//
// It is a cache: without it, or when it says nonsense, everything is read.
const knownFile = "known.json"

type knownBlock struct {
	Inode, Size  uint64
	Mtime, Ctime int64 // nanoseconds
	Host         string
	First, Last  uint64
	Count        uint64
	Heads        map[string]link
}

type knownBlocks map[string]knownBlock // by file name

func readKnown(dir string) knownBlocks {
	b, err := os.ReadFile(filepath.Join(dir, knownFile))
	if err != nil {
		return nil
	}
	var known knownBlocks
	if json.Unmarshal(b, &known) != nil {
		return nil
	}
	return known
}

// saveKnown remembers all blocks but the last, which is still written to. Its failure costs time only.
func saveKnown(dir string, found []scan) error {
	if len(found) < 2 {
		return nil
	}
	known := knownBlocks{}
	for _, s := range found[:len(found)-1] {
		if len(s.problems) > 0 || s.end != nil || s.id == (stamp{}) {
			continue
		}
		k := knownBlock{Host: s.host, First: s.first, Last: s.last, Count: s.count, Heads: s.heads}
		k.Inode, k.Size, k.Mtime, k.Ctime = s.id.inode, s.id.size, s.id.mtime, s.id.ctime
		known[filepath.Base(s.block.path)] = k
	}
	b, err := json.Marshal(known)
	if err != nil {
		return err
	}
	next := filepath.Join(dir, knownFile+".next")
	if err := os.WriteFile(next, b, 0o644); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(dir, knownFile))
}

// stamp identifies the content of a file as far as the file system tells.
type stamp struct {
	inode, size  uint64
	mtime, ctime int64
}

func (k knownBlock) stamp() stamp { return stamp{k.Inode, k.Size, k.Mtime, k.Ctime} }

func stampOf(path string) (stamp, error) {
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		return stamp{}, err
	}
	return stamp{inode: s.Ino, size: uint64(s.Size), mtime: s.Mtim.Nano(), ctime: s.Ctim.Nano()}, nil
}

// recall is the scan of a block that didn't change since it was read whole.
func (k knownBlocks) recall(b block) (scan, bool) {
	known, ok := k[filepath.Base(b.path)]
	if !ok {
		return scan{}, false
	}
	now, err := stampOf(b.path)
	if err != nil || now != known.stamp() {
		return scan{}, false
	}
	return scan{block: b, id: now, recalled: true, host: known.Host, first: known.First, last: known.Last, count: known.Count,
		bytes: int64(known.Size), heads: known.Heads}, true
}

// recheck reads the blocks that the start took for unchanged. Damage that it finds stops the journal from storing more, and is what
// Health says; nothing is changed on disk.
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
			j.rot.Store(messages.AsError(err))
			j.o.Log.Error("a part of the journal that didn't change since its last check is damaged", "error", err)
			return
		}
		if pause(j.stopped, time.Since(began)) != nil { // half of one core at most: the host has better things to do
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
