package journal

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// restoreWindow is the shortest memory for ids that the server allows. Decisions that once lay far apart follow each other at once here,
// and the server would take a reused id for a duplicate.
const restoreWindow = 100 * time.Millisecond

// Restore writes the journal of o.Host from a copy, such as a peer's. read passes the copy's decisions in order, from sequence 1. Each
// gets its old sequence. Only when all are on disk does the new store take the place of the old one, which is kept in
// <dir>/damaged-<time>. It returns the last sequence; decisions behind it are only in the old store. No process may have the journal open.
func Restore(ctx context.Context, o Options, read func(ctx context.Context, fn func(messages.Recorded) error) error) (last uint64, err error) {
	if o, err = o.complete(); err != nil {
		return 0, err
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return 0, unwritable(o.Dir, err)
	}
	l, err := takeLock(o.Dir, true)
	if err != nil {
		return 0, err
	}
	defer l.release()
	next := o
	next.Dir, next.Port, next.noSync, next.ReadOnly = filepath.Join(o.Dir, "restoring"), -1, true, false
	if err := os.RemoveAll(next.Dir); err != nil { // what an earlier attempt left
		return 0, unwritable(next.Dir, err)
	}
	if last, err = rewrite(ctx, next, read); err != nil {
		return 0, errors.Join(err, os.RemoveAll(next.Dir))
	}
	return last, swap(o.Dir, next.Dir)
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
	blocks, err := listBlocks(o.Dir)
	for _, b := range blocks {
		err = errors.Join(err, syncPath(b.path))
	}
	if err != nil {
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

// swap puts the new store in the old one's place, which is kept. At no moment does the directory look like a new journal: until the last
// step the old mark stands there, and a start that finds a shorter store refuses.
func swap(dir, next string) error {
	old := filepath.Join(dir, "damaged-"+time.Now().UTC().Format("20060102T150405.000"))
	if err := os.Mkdir(old, 0o755); err != nil {
		return unwritable(old, err)
	}
	err := os.Link(filepath.Join(dir, markFile), filepath.Join(old, markFile))
	if err == nil || os.IsNotExist(err) {
		err = os.Rename(filepath.Join(dir, server.JetStreamStoreDir), filepath.Join(old, server.JetStreamStoreDir))
	}
	if err != nil && !os.IsNotExist(err) {
		return unwritable(dir, err)
	}
	for _, name := range []string{server.JetStreamStoreDir, markFile} {
		if err := os.Rename(filepath.Join(next, name), filepath.Join(dir, name)); err != nil {
			return unwritable(dir, err)
		}
	}
	_ = os.Remove(old) // when there was nothing to keep
	if err := errors.Join(os.RemoveAll(next), syncPath(dir)); err != nil {
		return unwritable(dir, err)
	}
	return nil
}
