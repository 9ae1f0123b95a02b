package journal

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"modelops/messages"
)

// Verify reads every block of a store that no process has open and changes nothing in it. What it finds is in the Report. The error says
// that the store could not be read at all: messages.Conflict while it is in use, messages.NotFound when there is none.
func Verify(ctx context.Context, dir string) (Report, error) {
	if _, err := os.Stat(dir); err != nil {
		return Report{}, messages.Errorf(messages.NotFound, dir, "there is no journal: %w", err)
	}
	l, err := takeLock(dir, false)
	if err != nil {
		return Report{}, err
	}
	defer l.release()
	return inspect(ctx, dir, nil)
}

// merge joins the scans of the blocks, in order.
func (r *Report) merge(blocks []scan) {
	for i, s := range blocks {
		r.Blocks++
		r.Bytes += s.bytes
		r.Decisions += s.count
		r.lastBlock = s.block.path
		if r.Host == "" {
			r.Host = s.host
		}
		r.add(s.problems...) // before the seam: a broken chain is often only what follows from them
		if r.Foreign == nil {
			r.Foreign = s.foreign
		}
		if s.first != 0 {
			r.join(s)
		}
		if s.end != nil && i < len(blocks)-1 {
			r.add(r.placed(*s.end))
		}
	}
	slices.SortStableFunc(r.Problems, func(a, b Problem) int { return cmp.Compare(a.Sequence, b.Sequence) })
}

// join checks the seam between what was read so far and s.
func (r *Report) join(s scan) {
	if s.first != r.Last+1 {
		r.add(Problem{Sequence: r.Last + 1, File: s.block.path, What: fmt.Sprintf("it is missing; sequence %d follows %d", s.first, r.Last)})
	}
	if r.First == 0 {
		r.First = s.first
	}
	for subject, l := range s.heads {
		if before := r.heads[subject]; l.Expected != before {
			r.add(Problem{Sequence: l.First, File: s.block.path, What: brokenChain(subject, l.Expected, before)})
		}
		r.heads[subject] = l.Last
	}
	r.Last = s.last
}

// placed gives the end of a block without a single readable record its sequence.
func (r *Report) placed(p Problem) Problem {
	p.Sequence = max(p.Sequence, r.Last+1)
	return p
}

func (r *Report) add(p ...Problem) {
	r.Problems = append(r.Problems, p[:min(len(p), max(0, mostProblems-len(r.Problems)))]...)
}

// checkEnd tells a torn end, which was never acknowledged, from a lost one. Without a mark every unreadable end is a problem.
func (r *Report) checkEnd(blocks []scan, m mark, marked bool) {
	if len(blocks) > 0 {
		end := blocks[len(blocks)-1]
		if end.end != nil {
			p := r.placed(*end.end)
			if end.maybeTorn && marked && r.Last >= m.Sequence && len(r.Problems) == 0 {
				r.Torn = &p
			} else {
				r.add(p)
			}
		}
	}
	if marked && r.Last < m.Sequence && len(r.Problems) == 0 {
		r.add(Problem{Sequence: r.Last + 1, What: fmt.Sprintf("the journal ends at sequence %d, but sequence %d was acknowledged (boot %s, %s)",
			r.Last, m.Sequence, m.BootID, m.At.Format(time.RFC3339))})
	} else if marked && r.Last < m.Sequence {
		r.Problems[0].What += fmt.Sprintf("; the journal ends at sequence %d, but sequence %d was acknowledged", r.Last, m.Sequence)
	}
}

// cutTorn copies a torn end to torn/ and cuts it off, so that the server finds whole records only. It removes the server's index, which
// describes the state before the cut.
func cutTorn(dir string, r Report, log *slog.Logger) error {
	if r.Torn == nil {
		return nil
	}
	path, at := r.Torn.File, r.Torn.Offset
	b, err := os.ReadFile(path)
	if err != nil {
		return unwritable(path, err)
	}
	keep := filepath.Join(dir, "torn")
	if err := os.MkdirAll(keep, 0o755); err != nil {
		return unwritable(keep, err)
	}
	name := fmt.Sprintf("%s-%d-%s", strings.TrimSuffix(filepath.Base(path), ".blk"), at, time.Now().UTC().Format("20060102T150405.000"))
	if err := writeSynced(filepath.Join(keep, name), b[at:]); err != nil && !isDiskFull(err) {
		return unwritable(keep, err)
	}
	log.Warn("the last record was torn by a crash and never acknowledged; it is cut off", "sequence", r.Torn.Sequence, "block", path,
		"offset", at, "bytes", int64(len(b))-at, "copy", filepath.Join(keep, name))
	if err := os.Remove(filepath.Join(blocksDir(dir), "index.db")); err != nil && !os.IsNotExist(err) {
		return unwritable(path, err)
	}
	if err := os.Truncate(path, at); err != nil {
		return unwritable(path, err)
	}
	return syncPath(path)
}
