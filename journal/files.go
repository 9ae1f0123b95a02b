package journal

import (
	"context"

	"modelops/messages"
)

// files reads a journal from its blocks, without a server and without changing a byte.
type files struct {
	dir    string
	report Report
}

func (f *files) last(subject string) uint64 { return f.report.heads[subject] }

// replay passes the records that q asks for to take, in order. Where the blocks are damaged it ends with an error that names the
// sequence; everything before was passed.
func (f *files) replay(ctx context.Context, q Query, take func(stored) error) error {
	until := f.report.Last
	if q.Until != 0 {
		until = min(until, q.Until)
	}
	subject := ""
	if q.Actor != (messages.ActorID{}) {
		subject = subjectOf(f.report.Host, q.Actor)
	}
	blocks, err := listBlocks(f.dir)
	if err != nil {
		return unwritable(f.dir, err)
	}
	var buf []byte
	for _, b := range blocks {
		if ctx.Err() != nil {
			return messages.AsError(ctx.Err())
		}
		if buf, err = readInto(buf, b.path); err != nil {
			return unwritable(b.path, err)
		}
		if err := passBlock(b, buf, q.After, until, subject, take); err != nil {
			return err
		}
	}
	return nil
}

func passBlock(b block, buf []byte, after, until uint64, subject string, take func(stored) error) error {
	sum, err := b.hash()
	if err != nil {
		return messages.Errorf(messages.Internal, b.path, "%w", err)
	}
	last := after
	for at := 0; at < len(buf) && last < until; {
		r, err := parseRecord(buf[at:], sum)
		if err != nil {
			return damagedAt(last+1, "%s at byte %d: %w", b.path, at, err)
		}
		at += r.size
		last = r.sequence
		if r.tomb || r.erased || r.sequence <= after {
			continue
		}
		if r.sequence > until {
			return nil
		}
		if subject != "" && string(r.subject) != subject {
			continue
		}
		if err := take(stored{subject: string(r.subject), sequence: r.sequence, head: r.head, body: r.body}); err != nil {
			return err
		}
	}
	return nil
}

// openReadOnly reads from the blocks. The server runs beside them without a stream, so that bridges can still connect and say what is wrong.
func (j *Journal) openReadOnly(ctx context.Context) error {
	report, err := inspect(ctx, j.o.Dir)
	if err != nil {
		return err
	}
	if report.Host == "" {
		report.Host = j.o.Host
	}
	if err := report.belongsTo(j.o.Host); err != nil {
		return err
	}
	if err := report.Err(); err != nil {
		j.o.Log.Error("the journal is damaged and open for reading only", "err", err)
		j.trial.Store(messages.AsError(err))
	}
	j.acked.Store(report.Last)
	if err := j.startServer(""); err != nil {
		return err
	}
	j.Reader = &Reader{host: j.o.Host, files: &files{dir: j.o.Dir, report: report}}
	return nil
}
