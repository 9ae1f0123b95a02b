package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"

	"modelops/messages"
)

// files reads a journal from its blocks, without a server and without changing a byte.
type files struct {
	dir    string
	report Report
	places *places
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
	for i, b := range blocks {
		if i+1 < len(blocks) && f.first(blocks[i+1]) <= q.After+1 {
			continue // all of b lies at or before After
		}
		if ctx.Err() != nil {
			return messages.AsError(ctx.Err())
		}
		from := f.places.before(b.path, q.After+1)
		if buf, err = readInto(buf, b.path, from.offset); err != nil {
			return unwritable(b.path, err)
		}
		if err := f.passBlock(b, buf, from, q.After, until, subject, take); err != nil {
			return err
		}
	}
	return nil
}

// firstSequence of a block, the greatest number when it can't be told.
func firstSequence(b block) uint64 {
	f, err := os.Open(b.path)
	if err != nil {
		return math.MaxUint64
	}
	defer f.Close()
	var head [recordHead]byte
	if _, err := io.ReadFull(f, head[:]); err != nil {
		return math.MaxUint64
	}
	seq := binary.LittleEndian.Uint64(head[4:])
	if seq&(erasedBit|tombstoneBit) != 0 {
		return math.MaxUint64
	}
	return seq
}

// passBlock passes the records of a block to take; buf holds the block from a place on.
func (f *files) passBlock(b block, buf []byte, from place, after, until uint64, subject string, take func(stored) error) error {
	sum, err := b.hash()
	if err != nil {
		return messages.Errorf(messages.Internal, b.path, "%w", err)
	}
	last := from.sequence - min(from.sequence, 1) // of the records seen so far in this block
	for at := 0; at < len(buf) && last < until; {
		r, err := parseRecord(buf[at:], sum)
		var changed *checksumError
		if errors.As(err, &changed) && last != 0 && last < after {
			at, last = at+changed.size, last+1 // it is not asked for
			continue
		}
		if err != nil {
			return damagedAt(max(last, after)+1, "%s at byte %d: %w", b.path, from.offset+int64(at), err)
		}
		if r.sequence <= until {
			f.places.note(b.path, r.sequence, from.offset+int64(at))
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
		if err := take(stored{subject: r.subject, sequence: r.sequence, head: r.heads(), body: r.body}); err != nil {
			return err
		}
	}
	return nil
}

// openReadOnly reads from the blocks. The server runs beside them without a stream, so that bridges can still connect and say what is wrong.
func (j *Journal) openReadOnly(ctx context.Context) error {
	report, err := inspect(ctx, j.o.Dir, nil)
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
		j.outage.Store(messages.AsError(err))
	}
	j.acked.Store(report.Last)
	if err := j.startServer(""); err != nil {
		return err
	}
	j.Reader = &Reader{host: j.o.Host, files: &files{dir: j.o.Dir, report: report, places: &j.places}}
	return nil
}
