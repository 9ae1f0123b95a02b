package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Problem is one thing that is wrong with a store.
type Problem struct {
	Sequence uint64 `json:"sequence"` // of the decision that is missing or unreadable; 0 = none in particular
	File     string `json:"file,omitempty"`
	Offset   int64  `json:"offset,omitempty"` // bytes from the start of File
	What     string `json:"what"`
}

// Report is what a look at a store found.
type Report struct {
	Dir       string    `json:"dir"`
	Host      string    `json:"host,omitempty"` // whose decisions these are; empty for an empty journal
	First     uint64    `json:"first"`          // sequences; 0 for an empty journal
	Last      uint64    `json:"last"`
	Decisions uint64    `json:"decisions"`
	Bytes     int64     `json:"bytes"`
	Blocks    int       `json:"blocks"`
	Actors    int       `json:"actors"`
	Mark      uint64    `json:"mark"`           // the high-water mark, 0 without one
	Torn      *Problem  `json:"torn,omitempty"` // a half-written last record that was never acknowledged: harmless
	Problems  []Problem `json:"problems,omitempty"`
	Foreign   *Problem  `json:"foreign,omitempty"` // the first decision with an event that this build can't read

	heads     map[string]uint64 // last sequence of each subject
	lastBlock string
	found     []scan
}

const mostProblems = 100 // in a report; a store that was overwritten would fill the screen

// Err is nil for a whole journal, else messages.JournalDamaged naming the first sequence that is missing or unreadable.
func (r Report) Err() error {
	if len(r.Problems) == 0 {
		return nil
	}
	p := r.Problems[0]
	what := p.What
	if p.File != "" {
		what = fmt.Sprintf("%s (%s at byte %d)", what, filepath.Base(p.File), p.Offset)
	}
	if n := len(r.Problems) - 1; n > 0 {
		what += fmt.Sprintf(", and %d more findings", n)
	}
	return messages.Errorf(messages.JournalDamaged, r.Dir, "sequence %d: %s", p.Sequence, what).WithHint(hintDamaged)
}

// Readable is nil when this build can read every event, else messages.FailedPrecondition naming the first one that it can't. Such a journal is
// not damaged: another build wrote it.
func (r Report) Readable() error {
	if r.Foreign == nil {
		return nil
	}
	return messages.Errorf(messages.FailedPrecondition, r.Dir, "sequence %d can't be read by this build: %s", r.Foreign.Sequence, r.Foreign.What).
		WithHint("nothing was changed on disk; start the build that wrote it, or a newer one, or set another data_dir")
}

func (r Report) belongsTo(host string) error {
	if r.Host == "" || r.Host == host {
		return nil
	}
	return messages.Errorf(messages.FailedPrecondition, r.Dir, "the journal is that of host %s, this host is called %s", r.Host, host).
		WithHint("give the host its old name back, or set another data_dir")
}

// inspect reads every block of a store except those that the scan cache holds unchanged; a nil cache reads all. The caller holds the lock.
func inspect(ctx context.Context, dir string, cache scanCache) (Report, error) {
	report := Report{Dir: dir, heads: map[string]uint64{}}
	m, marked, err := readMark(dir)
	var noMark error
	if err != nil {
		noMark = messages.Errorf(messages.JournalDamaged, filepath.Join(dir, markFile), "the high-water mark can't be read: %w", err).
			WithHint("`modelops journal repair` writes it anew from the decisions that can be read; `modelops restore` brings the journal back from a copy")
	}
	report.Mark = m.Sequence
	blocks, err := listBlocks(dir)
	if err != nil {
		return report, unwritable(dir, err)
	}
	found, err := scanAll(ctx, blocks, cache)
	if err != nil {
		return report, err
	}
	report.merge(found)
	report.checkEnd(found, m, marked)
	report.Actors = len(report.heads)
	report.found = found
	return report, noMark
}

// scan is what one block holds.
type scan struct {
	block       block
	host        string
	first, last uint64
	count       uint64
	bytes       int64
	heads       map[string]link
	problems    []Problem
	foreign     *Problem           // the first decision with an event that this build can't read
	types       map[eventKind]bool // of its events
	end         *Problem           // unreadable rest of the block
	maybeTorn   bool               // end looks like a write that was cut short
	id          stamp              // what was read
	cached      bool               // taken from the scan cache, not read
}

// eventKind is a type of event in a schema version.
type eventKind struct {
	Type    string
	Version uint32
}

// link is one actor's part in a block.
type link struct{ Expected, First, Last uint64 }

func scanAll(ctx context.Context, blocks []block, cache scanCache) ([]scan, error) {
	out := make([]scan, len(blocks))
	errs := make([]error, len(blocks))
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(blocks)) {
		workers.Go(func() {
			var buf []byte
			for i := range next {
				if s, ok := cache.find(blocks[i]); ok && i < len(blocks)-1 {
					out[i] = s
					continue
				}
				out[i], buf, errs[i] = scanBlock(blocks[i], buf)
			}
		})
	}
	for i := range blocks {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	workers.Wait()
	if ctx.Err() != nil {
		return nil, messages.AsError(ctx.Err())
	}
	return out, errors.Join(errs...)
}

// scanBlock reads one block; buf is reused between blocks of one worker.
func scanBlock(b block, buf []byte) (scan, []byte, error) {
	s := scan{block: b, heads: map[string]link{}, types: map[eventKind]bool{}}
	// Before the bytes: a change while they are read makes the stamp old, never the bytes.
	id, err := stampOf(b.path)
	if err != nil {
		return s, buf, unwritable(b.path, err)
	}
	s.id = id
	buf, err = readInto(buf, b.path, 0)
	if err != nil {
		return s, buf, unwritable(b.path, err)
	}
	sum, err := b.hash()
	if err != nil {
		return s, buf, messages.Errorf(messages.Internal, b.path, "%w", err)
	}
	s.bytes = int64(len(buf))
	for at := 0; at < len(buf); {
		r, err := parseRecord(buf[at:], sum)
		var changed *checksumError
		switch {
		case errors.As(err, &changed):
			if at+changed.size == len(buf) {
				s.endAt(at, err, true)
				return s, buf, nil
			}
			s.problem(at, s.last+1, "the decision's bytes changed: "+err.Error())
			s.last++ // it stood here, so what follows is no gap
			at += changed.size
			continue
		case err != nil:
			var bad *recordError
			errors.As(err, &bad)
			s.endAt(at, err, bad.partial && !follows(buf[at:], s.last, sum))
			return s, buf, nil
		}
		s.take(at, r)
		at += r.size
	}
	return s, buf, nil
}

func (s *scan) endAt(at int, err error, maybeTorn bool) {
	s.end = &Problem{Sequence: s.last + 1, File: s.block.path, Offset: int64(at), What: "the block can't be read from here: " + err.Error()}
	s.maybeTorn = maybeTorn
}

func (s *scan) problem(at int, sequence uint64, what string) {
	if len(s.problems) < mostProblems {
		s.problems = append(s.problems, Problem{Sequence: sequence, File: s.block.path, Offset: int64(at), What: what})
	}
}

// take checks a whole record against the ones before it in the block.
func (s *scan) take(at int, r record) {
	if r.tomb {
		return // says only that a sequence is gone; that it is gone is found by the gap
	}
	if r.erased {
		s.problem(at, r.sequence, "the decision was erased")
		s.last = r.sequence
		return
	}
	if s.first == 0 && s.last == 0 {
		s.first = r.sequence
	} else if r.sequence != s.last+1 {
		s.problem(at, s.last+1, fmt.Sprintf("it is missing; sequence %d follows %d", r.sequence, s.last))
	}
	s.last = r.sequence
	s.count++
	expected, err := strconv.ParseUint(string(rawHeader(r.headers, headExpected)), 10, 64)
	if err != nil {
		s.problem(at, r.sequence, "it has no expected sequence, so it was not written by a journal")
		return
	}
	if !wholeDecision(r.body) {
		s.problem(at, r.sequence, "the body is no decision")
	} else if s.foreign == nil {
		s.read(at, r)
	}
	l, seen := s.heads[string(r.subject)]
	switch {
	case !seen:
		if s.host == "" {
			s.host = hostOf(r.subject)
		}
		l = link{Expected: expected, First: r.sequence}
	case l.Last != expected:
		s.problem(at, r.sequence, brokenChain(string(r.subject), expected, l.Last))
	}
	l.Last = r.sequence
	s.heads[string(r.subject)] = l
}

// read opens the events of a record, as the actor would that they belong to.
func (s *scan) read(at int, r record) {
	d := new(messages.Decision)
	if err := proto.Unmarshal(r.body, d); err != nil {
		s.problem(at, r.sequence, "the body is no decision: "+err.Error())
		return
	}
	for _, e := range d.Events {
		s.types[eventKind{e.Type, e.Version}] = true
	}
	if _, err := d.Open(); err != nil {
		e := messages.AsError(err)
		s.foreign = &Problem{Sequence: r.sequence, File: s.block.path, Offset: int64(at), What: "event " + e.Subject + ": " + e.Message}
	}
}

func brokenChain(subject string, expected, before uint64) string {
	return fmt.Sprintf("the chain of %s is broken: it follows sequence %d, but the one before it is %d", subject, expected, before)
}

func hostOf(subject []byte) string {
	host, _, err := actorOf(string(subject))
	if err != nil {
		return ""
	}
	return host
}

// wholeDecision checks the shape of a messages.Decision without making one: a list of envelopes with a type each.
func wholeDecision(b []byte) bool {
	n := 0
	for len(b) > 0 {
		field, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return false
		}
		b = b[size:]
		if field != 1 || kind != protowire.BytesType {
			size = protowire.ConsumeFieldValue(field, kind, b)
		} else {
			var event []byte
			if event, size = protowire.ConsumeBytes(b); size >= 0 && !bytes.HasPrefix(event, []byte{1<<3 | 2}) {
				return false // field 1, the type, is always set and written first
			}
			n++
		}
		if size < 0 {
			return false
		}
		b = b[size:]
	}
	return n > 0
}

// readInto reads a file from an offset on; buf is reused.
func readInto(buf []byte, path string, from int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return buf, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return buf, err
	}
	if size := int(max(info.Size()-from, 0)); cap(buf) < size {
		buf = make([]byte, size)
	} else {
		buf = buf[:size]
	}
	n, err := readFull(io.NewSectionReader(f, from, int64(len(buf))), buf)
	return buf[:n], err
}

// readFull reads up to len(buf) bytes; a file that ends before is no error.
func readFull(f io.Reader, buf []byte) (int, error) {
	n, err := io.ReadFull(f, buf)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}
