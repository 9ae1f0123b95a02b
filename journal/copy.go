package journal

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// A copy is a journal as one file: a line of JSON that says whose it is, one for each decision, and a last one with the number of decisions and
// the SHA-256 of everything before it. A copy without its last line was cut off, and is refused as a whole.
type (
	copyHead struct {
		Copy int    `json:"modelops_journal"` // version of the format
		Host string `json:"host"`
	}
	copyLine struct {
		Sequence    uint64    `json:"seq"`
		Expected    uint64    `json:"expected"`
		Subject     string    `json:"subject"` // names the actor; reversible for every name
		ID          string    `json:"id"`
		Correlation string    `json:"correlation,omitempty"`
		Causation   string    `json:"causation,omitempty"`
		Caller      string    `json:"caller,omitempty"`
		Boot        string    `json:"boot,omitempty"`
		At          time.Time `json:"at"`
		Decision    []byte    `json:"decision"`
	}
	copyEnd struct {
		Decisions uint64 `json:"decisions"`
		SHA256    string `json:"sha256"`
	}
)

const copyVersion = 1

// WriteCopy writes a copy of the decisions that read passes, and returns how many there are.
func WriteCopy(ctx context.Context, w io.Writer, host string, read func(ctx context.Context, fn func(messages.Recorded) error) error) (uint64, error) {
	c := copyWriter{out: bufio.NewWriterSize(w, 64<<10), sum: sha256.New()}
	n := uint64(0)
	err := c.line(copyHead{copyVersion, host})
	if err == nil {
		err = read(ctx, func(r messages.Recorded) error {
			n++
			body, err := proto.MarshalOptions{Deterministic: true}.Marshal(r.Decision)
			if err != nil {
				return err
			}
			return c.line(copyLine{Sequence: r.Sequence, Expected: r.Expected, Subject: subjectOf(host, r.Actor), ID: r.ID, Correlation: r.Meta.Correlation,
				Causation: r.Meta.Causation, Caller: r.Meta.Caller, Boot: r.BootID, At: r.At, Decision: body})
		})
	}
	if err == nil {
		err = c.line(copyEnd{n, hex.EncodeToString(c.sum.Sum(nil))})
	}
	return n, errors.Join(err, c.out.Flush())
}

type copyWriter struct {
	out *bufio.Writer
	sum hash.Hash
}

func (c *copyWriter) line(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	b = append(b, '\n')
	c.sum.Write(b)
	_, err = c.out.Write(b)
	return err
}

// CopyReader reads a copy.
type CopyReader struct {
	Host string

	name string
	in   *bufio.Reader
	sum  hash.Hash
}

// OpenCopy reads the beginning of a copy; name is for errors.
func OpenCopy(name string, r io.Reader) (*CopyReader, error) {
	c := &CopyReader{name: name, in: bufio.NewReaderSize(r, 64<<10), sum: sha256.New()}
	line, err := c.in.ReadBytes('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, messages.Errorf(messages.Unavailable, name, "the copy can't be read: %w", err)
	}
	var head copyHead
	if json.Unmarshal(line, &head) != nil || head.Copy == 0 {
		return nil, messages.NewError(messages.InvalidArgument, name, "this is no copy of a journal").WithHint("`modelops journal export FILE` writes one")
	}
	if head.Copy > copyVersion {
		return nil, messages.Errorf(messages.InvalidArgument, name, "the copy has format %d, this build knows up to %d", head.Copy, copyVersion).
			WithHint("restore with a build at least as new as the one that wrote it")
	}
	c.sum.Write(line)
	c.Host = head.Host
	return c, nil
}

// Read passes the copy's decisions in order. messages.JournalDamaged: the copy is cut off or changed; what was passed must not be used then.
func (c *CopyReader) Read(ctx context.Context, fn func(messages.Recorded) error) error {
	for n := uint64(0); ; n++ {
		if ctx.Err() != nil {
			return messages.AsError(ctx.Err())
		}
		line, err := c.in.ReadBytes('\n')
		if err != nil {
			return c.damaged("it ends after %d decisions, without the line that every whole copy ends with", n)
		}
		if bytes.HasPrefix(line, []byte(`{"decisions":`)) {
			return c.end(line, n)
		}
		c.sum.Write(line)
		r, err := readCopyLine(line)
		if err != nil {
			return c.damaged("decision %d can't be read: %v", n+1, err)
		}
		if err := fn(r); err != nil {
			return err
		}
	}
}

func (c *CopyReader) end(line []byte, n uint64) error {
	var end copyEnd
	if err := json.Unmarshal(line, &end); err != nil {
		return c.damaged("its last line can't be read: %v", err)
	}
	if end.Decisions != n || end.SHA256 != hex.EncodeToString(c.sum.Sum(nil)) {
		return c.damaged("its %d decisions are not the %d that were written: the checksum differs", n, end.Decisions)
	}
	return nil
}

func (c *CopyReader) damaged(format string, args ...any) error {
	return messages.Errorf(messages.JournalDamaged, c.name, format, args...).WithHint("use another copy; nothing was changed")
}

func readCopyLine(line []byte) (messages.Recorded, error) {
	var l copyLine
	if err := json.Unmarshal(line, &l); err != nil {
		return messages.Recorded{}, err
	}
	_, actor, err := actorOf(l.Subject)
	if err != nil {
		return messages.Recorded{}, err
	}
	d := new(messages.Decision)
	if err := proto.Unmarshal(l.Decision, d); err != nil {
		return messages.Recorded{}, err
	}
	return messages.Recorded{Actor: actor, Sequence: l.Sequence, Expected: l.Expected, ID: l.ID, BootID: l.Boot, At: l.At, Decision: d,
		Meta: messages.Meta{ID: l.ID, Correlation: l.Correlation, Causation: l.Causation, Caller: l.Caller}}, nil
}
