package journal

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"modelops/messages"
)

// Range is a range of sequences; zero = none.
type Range struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

// Restored says what Restore or Repair did.
type Restored struct {
	Last uint64 `json:"last"`           // sequence of the last decision of the new store
	Lost *Range `json:"lost,omitempty"` // sequences that the old store had acknowledged and that the new one doesn't hold
	// Kept is the directory of the old store; empty when there was none.
	Kept string `json:"kept,omitempty"`
	// Cause is what ended the good prefix of a repaired store; empty after a restore.
	Cause string `json:"cause,omitempty"`
}

// prefix is the good beginning of a store: every decision before the first that is missing or unreadable.
type prefix struct {
	files *files
	host  string
	end   uint64 // the last sequence that the store is known to have held
	why   error  // nil = the whole store is good
}

// Repair makes a new store of the decisions before the first one that is missing or unreadable, and puts it in the place of the damaged one,
// which is kept in <dir>/damaged-<time> with every byte as it is. messages.FailedPrecondition: the journal isn't damaged. No process may have
// the journal open.
func Repair(ctx context.Context, o Options) (Restored, error) {
	p, err := goodPrefix(ctx, o.Dir)
	if err != nil {
		return Restored{}, err
	}
	if p.why == nil {
		return Restored{}, messages.NewError(messages.FailedPrecondition, o.Dir, "the journal is intact, so there is nothing to repair")
	}
	if p.host != "" {
		o.Host = p.host
	}
	var ended error
	done, err := Restore(ctx, o, func(ctx context.Context, fn func(messages.Recorded) error) error {
		ended = nil
		var took error
		err := p.read(ctx, func(r messages.Recorded) error { took = fn(r); return took })
		if took == nil && messages.CodeOf(err) == messages.JournalDamaged {
			ended, err = err, nil
		}
		return err
	})
	if err != nil {
		return Restored{}, err
	}
	if ended == nil { // what is there can be read; what was acknowledged behind it is gone, or the mark is
		ended = p.why
	}
	done.Cause = messages.AsError(ended).Message
	return done, nil
}

// goodPrefix looks at a store that may be damaged in any part.
func goodPrefix(ctx context.Context, dir string) (prefix, error) {
	if _, err := os.Stat(dir); err != nil {
		return prefix{}, messages.Errorf(messages.NotFound, dir, "there is no journal: %w", err)
	}
	l, err := takeLock(dir, false)
	if err != nil {
		return prefix{}, err
	}
	defer l.release()
	report, err := inspect(ctx, dir, nil)
	p := prefix{host: report.Host, end: max(report.Last, report.Mark), why: err, files: &files{dir: dir, report: report, places: new(places)}}
	if err == nil {
		p.why = report.Err()
	}
	if err != nil && messages.CodeOf(err) != messages.JournalDamaged {
		return prefix{}, err
	}
	for _, problem := range report.Problems {
		p.end = max(p.end, problem.Sequence)
	}
	return p, nil
}

// read passes the decisions of the prefix, and ends with messages.JournalDamaged at the first one that is missing or unreadable.
func (p prefix) read(ctx context.Context, fn func(messages.Recorded) error) error {
	return (&Reader{host: p.host, files: p.files}).Replay(ctx, Query{Unknown: true}, fn)
}

// ReadStore calls fn with the decisions of a store that no process has open, in order; nothing in it is changed. messages.JournalDamaged: a
// decision is missing or unreadable; everything before it was passed.
func ReadStore(ctx context.Context, dir string, fn func(messages.Recorded) error) error {
	p, err := goodPrefix(ctx, dir)
	if err != nil {
		return err
	}
	if err := p.read(ctx, fn); err != nil {
		return err
	}
	return p.why
}

// HostOf is the host whose decisions a store holds, even a damaged one; empty when it holds none that can be read.
func HostOf(ctx context.Context, dir string) (string, error) {
	p, err := goodPrefix(ctx, dir)
	return p.host, err
}

// lostBy is what the old store had acknowledged behind the last decision of the new one.
func (p prefix) lostBy(last uint64) *Range {
	if p.end <= last {
		return nil
	}
	return &Range{last + 1, p.end}
}

// keptName is the directory of a store that is taken out of service.
func keptName(dir string) string {
	return filepath.Join(dir, "damaged-"+time.Now().UTC().Format("20060102T150405.000"))
}

// syncTree fsyncs every file and directory below a path, so that a new store outlives a power cut that comes right after it took the old one's
// place.
func syncTree(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		below := filepath.Join(path, e.Name())
		if e.IsDir() {
			err = errors.Join(err, syncTree(below))
		} else if e.Type().IsRegular() {
			err = errors.Join(err, syncPath(below))
		}
	}
	return errors.Join(err, syncPath(path))
}
