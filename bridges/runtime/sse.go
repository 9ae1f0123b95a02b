package runtime

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

const (
	maxEvent  = 4 << 20  // bytes of one event; engines send a few hundred
	maxAnswer = 64 << 20 // bytes of an answer that comes at once
)

// event is a server-sent event that carries something.
type event struct {
	data   []byte // valid until the next one is read
	failed bool   // it is an error: its line is called error:, or its name is error
}

// eventReader reads server-sent events as engines write them. Lines end with LF, CRLF or CR; several lines of data are joined with LF; the space
// after the colon may be missing. Ids, comments, unknown fields, and events whose data is empty or space carry nothing and are skipped. However the
// network cuts the events, they are the same.
type eventReader struct {
	in     *bufio.Reader
	data   []byte
	text   []byte // of the line
	first  bool
	skipLF bool // the last line ended with CR: an LF that follows belongs to it
}

func newEventReader(r io.Reader) *eventReader {
	return &eventReader{in: bufio.NewReaderSize(r, 16<<10), first: true}
}

var errEventTooLong = fmt.Errorf("an event is longer than %d bytes", maxEvent)

// next is the next event that carries something; io.EOF after the last one. What the end of the stream cuts off before the empty line still counts:
// some servers leave the last empty line out.
func (e *eventReader) next() (event, error) {
	for {
		next, err := e.any()
		if len(next.data) > 0 {
			return next, nil // an error that came with it comes again
		}
		if err != nil {
			return event{}, err
		}
	}
}

// any reads to the next empty line. Its data has no space around it.
func (e *eventReader) any() (event, error) {
	e.data = e.data[:0]
	has, failed := false, false
	for {
		line, err := e.line()
		name, value := fieldIn(line)
		switch name {
		case "data", "error":
			if has {
				e.data = append(e.data, '\n')
			}
			has = true
			e.data = append(e.data, value...)
			failed = failed || name == "error"
		case "event":
			failed = failed || string(bytes.TrimSpace(value)) == "error"
		}
		switch {
		case len(e.data) > maxEvent:
			return event{}, errEventTooLong
		case err != nil && !errors.Is(err, io.EOF):
			return event{}, err
		case err != nil || len(line) == 0:
			return event{bytes.TrimSpace(e.data), failed}, err
		}
	}
}

// fieldIn takes a line apart: the value less the one space that may follow the colon. A comment has no name.
func fieldIn(line []byte) (name string, value []byte) {
	before, after, _ := bytes.Cut(line, []byte(":"))
	return string(before), bytes.TrimPrefix(after, []byte(" "))
}

// line reads to the next line end, without it.
func (e *eventReader) line() ([]byte, error) {
	e.text = e.text[:0]
	for {
		if _, err := e.in.Peek(1); err != nil {
			return e.whole(), err
		}
		part, _ := e.in.Peek(e.in.Buffered())
		if e.skipLF {
			e.skipLF = false
			if part[0] == '\n' {
				_, _ = e.in.Discard(1)
				continue
			}
		}
		end := bytes.IndexAny(part, "\r\n")
		if end < 0 {
			e.text = append(e.text, part...)
			_, _ = e.in.Discard(len(part))
			if len(e.text) > maxEvent {
				return nil, errEventTooLong
			}
			continue
		}
		e.text = append(e.text, part[:end]...)
		e.skipLF = part[end] == '\r'
		_, _ = e.in.Discard(end + 1)
		return e.whole(), nil
	}
}

// whole is the line that was read, less the byte order mark that the first one may begin with.
func (e *eventReader) whole() []byte {
	if e.first {
		e.first = false
		return bytes.TrimPrefix(e.text, []byte("\xEF\xBB\xBF"))
	}
	return e.text
}
