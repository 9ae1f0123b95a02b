package journal

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func readFull(f *os.File, buf []byte) (int, error) {
	n, err := io.ReadFull(f, buf)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// merge joins what the blocks hold, in order.
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

// judgeEnd tells a torn end, which nobody was promised, from a lost one. Without a mark nothing can be excused.
func (r *Report) judgeEnd(blocks []scan, m mark, marked bool) {
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

// cutTorn keeps a copy of a torn end and cuts it off, so that the server finds whole records only. The server's index would only tell
// of a state that is no more.
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
