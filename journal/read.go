package journal

import (
	"cmp"
	"context"
	"encoding/binary"
	"hash"
	"io"
	"os"
	"slices"

	"modelops/messages"
)

// Read calls fn with the decisions of the given sequences, each once, in ascending order. It reads them from the block files, some 64 KiB for
// each, so it costs the same however long the journal is. Checksums are checked, chains are not: Replay does that. Events that this build
// doesn't know are not an error: Events is then nil. messages.InvalidArgument: a sequence is 0 or behind the last acknowledged decision.
// messages.JournalDamaged: a decision is missing or unreadable. An error of fn ends it and is returned.
func (j *Journal) Read(ctx context.Context, sequences []uint64, fn func(messages.Recorded) error) error {
	wanted := slices.Compact(slices.Sorted(slices.Values(sequences)))
	last := j.Sequence()
	if n := len(wanted); n > 0 && (wanted[0] == 0 || wanted[n-1] > last) {
		return messages.Errorf(messages.InvalidArgument, "journal of "+j.o.Host, "sequences %d to %d were asked for, and it holds 1 to %d", wanted[0], wanted[n-1], last)
	}
	f := &files{dir: j.o.Dir, places: &j.places}
	var d decoder
	return f.read(ctx, wanted, func(s stored) error {
		_, rec, err := d.decode(s)
		if err != nil {
			return err
		}
		_ = open(&rec) // an unknown event leaves Events nil
		return fn(rec)
	})
}

// read passes the records of ascending sequences to take.
func (f *files) read(ctx context.Context, wanted []uint64, take func(stored) error) error {
	blocks, err := listBlocks(f.dir)
	if err != nil {
		return unwritable(f.dir, err)
	}
	for i := 0; len(wanted) > 0; i++ {
		if ctx.Err() != nil {
			return messages.AsError(ctx.Err())
		}
		if i == len(blocks) {
			return damagedAt(wanted[0], "it is missing: no block holds it")
		}
		n := len(wanted)
		if i+1 < len(blocks) {
			n, _ = slices.BinarySearch(wanted, f.first(blocks[i+1]))
		}
		if n == 0 {
			continue
		}
		if err := f.readBlock(blocks[i], wanted[:n], take); err != nil {
			return err
		}
		wanted = wanted[n:]
	}
	return nil
}

// first is the first sequence of a block, the greatest number when it can't be told.
func (f *files) first(b block) uint64 { return cmp.Or(f.places.first(b.path), firstSequence(b)) }

func (f *files) readBlock(b block, wanted []uint64, take func(stored) error) error {
	file, err := os.Open(b.path)
	if err != nil {
		return unwritable(b.path, err)
	}
	defer file.Close()
	sum, err := b.hash()
	if err != nil {
		return messages.Errorf(messages.Internal, b.path, "%w", err)
	}
	w := walk{file: file, path: b.path, places: f.places}
	for _, sequence := range wanted {
		r, err := w.find(sequence, sum)
		if err != nil {
			f.places.forget(b.path) // they may have misled the walk
			w = walk{file: file, path: b.path, places: f.places}
			if r, err = w.find(sequence, sum); err != nil {
				return damagedAt(sequence, "%s: %w", b.path, err)
			}
		}
		if err := take(stored{subject: r.subject, sequence: r.sequence, head: r.heads(), body: r.body}); err != nil {
			return err
		}
	}
	return nil
}

// walk goes over the records of one block file, forwards.
type walk struct {
	file   *os.File
	path   string
	places *places
	buf    []byte
	base   int64  // offset of buf in the file
	at     int    // of the next record, in buf
	passed uint64 // the last sequence that was walked over
}

// find returns the record of a sequence, checksum checked. The record is valid until the next call.
func (w *walk) find(sequence uint64, sum hash.Hash64) (record, error) {
	if p := w.places.before(w.path, sequence); w.buf == nil || w.passed >= sequence || p.offset > w.base+int64(w.at) {
		w.buf, w.base, w.at, w.passed = w.buf[:0], p.offset, 0, 0
	}
	for {
		r, err := w.record(nil)
		if err != nil {
			return record{}, err
		}
		if r.sequence == sequence && !r.tomb && !r.erased {
			if r, err = w.record(sum); err != nil {
				return record{}, err
			}
			w.pass(r)
			return r, nil
		}
		if r.sequence > sequence {
			return record{}, &recordError{"it is missing", false}
		}
		w.pass(r)
	}
}

func (w *walk) pass(r record) {
	w.places.note(w.path, r.sequence, w.base+int64(w.at))
	w.at += r.size
	w.passed = r.sequence
}

// record parses the next record and stays before it.
func (w *walk) record(sum hash.Hash64) (record, error) {
	if err := w.fill(recordHead); err != nil {
		return record{}, err
	}
	if rest := w.buf[w.at:]; len(rest) >= recordHead {
		size := int(binary.LittleEndian.Uint32(rest) &^ headersBit)
		if err := w.fill(min(size, longestRecord)); err != nil {
			return record{}, err
		}
	}
	return parseRecord(w.buf[w.at:], sum)
}

// fill makes at least n bytes of the file available from the next record on, fewer only at its end.
func (w *walk) fill(n int) error {
	if len(w.buf)-w.at >= n {
		return nil
	}
	w.base, w.at = w.base+int64(w.at), 0
	if n = max(n, placeEvery); cap(w.buf) < n {
		w.buf = make([]byte, n)
	}
	w.buf = w.buf[:n]
	got, err := w.file.ReadAt(w.buf, w.base)
	w.buf = w.buf[:got]
	if err != nil && err != io.EOF {
		return unwritable(w.path, err)
	}
	return nil
}
