package journal

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// restoreWindow is the shortest memory for ids that the server allows. Decisions that once lay far apart follow each other at once here,
// and the server would take a reused id for a duplicate.
const restoreWindow = 100 * time.Millisecond

// Restore writes the journal of o.Host from a copy. read passes the copy's decisions in order, from sequence 1. Each gets its old sequence.
// Only when all are on disk does the new store take the place of the old one, which is kept in <dir>/damaged-<time>. messages.FailedPrecondition:
// the old store is intact and holds decisions that the copy doesn't, or is another host's. No process may have the journal open.
func Restore(ctx context.Context, o Options, read func(ctx context.Context, fn func(messages.Recorded) error) error) (Restored, error) {
	o, err := o.complete()
	if err != nil {
		return Restored{}, err
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return Restored{}, unwritable(o.Dir, err)
	}
	old, err := goodPrefix(ctx, o.Dir)
	if err != nil {
		return Restored{}, err
	}
	l, err := takeLock(o.Dir, true)
	if err != nil {
		return Restored{}, err
	}
	defer l.release()
	next := o
	next.Dir, next.Port, next.noSync, next.ReadOnly = filepath.Join(o.Dir, "restoring"), -1, true, false
	if err := os.RemoveAll(next.Dir); err != nil { // what an earlier attempt left
		return Restored{}, unwritable(next.Dir, err)
	}
	last, err := rewrite(ctx, next, read)
	if err == nil {
		err = mayReplace(o, old, last)
	}
	if err != nil {
		return Restored{}, errors.Join(err, os.RemoveAll(next.Dir))
	}
	kept, err := swap(o.Dir, next.Dir)
	return Restored{Last: last, Lost: old.lostBy(last), Kept: kept}, err
}

// mayReplace refuses to take decisions out of service that can be read.
func mayReplace(o Options, old prefix, last uint64) error {
	if err := (Report{Dir: o.Dir, Host: old.host}).belongsTo(o.Host); err != nil {
		return err
	}
	if old.why == nil && old.end > last {
		return messages.Errorf(messages.FailedPrecondition, o.Dir, "the journal is intact up to sequence %d, and the copy ends at %d", old.end, last).
			WithHint("to go back to the copy all the same, move the directory away first")
	}
	return nil
}

func rewrite(ctx context.Context, o Options, read func(ctx context.Context, fn func(messages.Recorded) error) error) (uint64, error) {
	j, err := Open(ctx, o)
	if err != nil {
		return 0, err
	}
	c := newChain(Query{})
	err = read(ctx, func(r messages.Recorded) error {
		if err := c.check(subjectOf(o.Host, r.Actor), r.Sequence, r.Expected); err != nil {
			return err
		}
		return j.rewriteOne(ctx, r)
	})
	if err = errors.Join(err, j.Close()); err != nil {
		return 0, err
	}
	if err := syncTree(o.Dir); err != nil {
		return 0, unwritable(o.Dir, err)
	}
	report, err := inspect(ctx, o.Dir, nil)
	if err != nil {
		return 0, err
	}
	return report.Last, report.Err()
}

// rewriteOne stores r as it was: same headers, same bytes, same sequence.
func (j *Journal) rewriteOne(ctx context.Context, r messages.Recorded) error {
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(r.Decision)
	if err != nil {
		return messages.Errorf(messages.Internal, r.Actor.String(), "encode the decision: %w", err)
	}
	meta := r.Meta
	meta.ID = r.ID
	m := newMessage(subjectOf(j.o.Host, r.Actor), r.BootID, Append{Actor: r.Actor, Expected: r.Expected, Meta: meta, At: r.At}, r.Decision, body)
	for {
		seq, duplicate, err := j.publishOnce(ctx, m)
		switch {
		case err != nil:
			return j.unavailable(r.Actor.String(), err)
		case !duplicate && seq != r.Sequence:
			return damagedAt(r.Sequence, "it would become sequence %d", seq)
		case !duplicate:
			j.raise(seq)
			return nil
		}
		select {
		case <-ctx.Done():
			return messages.AsError(ctx.Err())
		case <-time.After(restoreWindow):
		}
	}
}

// swap puts the new store in the old one's place, and keeps the old one. At no moment does the directory look like a new journal: the stores
// change places in one step, and until the last step the old mark stands there, so that a start in between refuses a shorter store.
func swap(dir, next string) (kept string, err error) {
	kept = keptName(dir)
	if err := os.Mkdir(kept, 0o755); err != nil {
		return "", unwritable(kept, err)
	}
	if err := os.Link(filepath.Join(dir, markFile), filepath.Join(kept, markFile)); err != nil && !os.IsNotExist(err) {
		return "", unwritable(dir, err)
	}
	had, err := exchange(filepath.Join(next, server.JetStreamStoreDir), filepath.Join(dir, server.JetStreamStoreDir), filepath.Join(kept, server.JetStreamStoreDir))
	if err != nil {
		return "", unwritable(dir, err)
	}
	if err := errors.Join(syncPath(kept), syncPath(dir)); err != nil {
		return "", unwritable(dir, err)
	}
	if err := os.Rename(filepath.Join(next, markFile), filepath.Join(dir, markFile)); err != nil {
		return "", unwritable(dir, err)
	}
	if err := errors.Join(os.RemoveAll(next), syncPath(dir)); err != nil {
		return "", unwritable(dir, err)
	}
	if !had && os.Remove(kept) == nil { // there was nothing to keep
		return "", nil
	}
	return kept, nil
}

// exchange moves fresh to live, and what was at live to kept. had = there was something.
func exchange(fresh, live, kept string) (had bool, err error) {
	if _, err := os.Lstat(live); os.IsNotExist(err) {
		return false, os.Rename(fresh, live)
	}
	if err := os.Rename(fresh, kept); err != nil {
		return true, err
	}
	err = unix.Renameat2(unix.AT_FDCWD, kept, unix.AT_FDCWD, live, unix.RENAME_EXCHANGE)
	if err == nil || !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
		return true, err
	}
	// This file system can't exchange: for a moment there is no store, and the mark says that there was one.
	return true, errors.Join(os.Rename(kept, fresh), os.Rename(live, kept), os.Rename(fresh, live))
}
