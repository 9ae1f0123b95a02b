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

// eventReader reads the data of server-sent events; names, ids, comments and unknown fields are skipped.
type eventReader struct {
	in    *bufio.Reader
	data  []byte
	first bool
}

func newEventReader(r io.Reader) *eventReader {
	return &eventReader{in: bufio.NewReaderSize(r, 16<<10), first: true}
}

var errEventTooLong = fmt.Errorf("an event is longer than %d bytes", maxEvent)

// next is the data of the next event that has some, valid until the next call; io.EOF after the last one. Lines end with
// LF or CRLF; several data lines are joined with LF. Data that the end of the stream cuts off before the empty line
// still counts when its line is complete or it ends there: some servers leave the last empty line out.
func (e *eventReader) next() ([]byte, error) {
	e.data = e.data[:0]
	has := false
	for {
		line, err := e.line()
		if len(line) > 0 {
			if value, ok := dataOf(line); ok {
				if has {
					e.data = append(e.data, '\n')
				}
				has = true
				e.data = append(e.data, value...)
				if len(e.data) > maxEvent {
					return nil, errEventTooLong
				}
			}
		}
		switch {
		case errors.Is(err, io.EOF) && has:
			return e.data, nil
		case err != nil:
			return nil, err
		case len(line) == 0 && has:
			return e.data, nil
		}
	}
}

// dataOf is the value of a data line, less the one space that may follow the colon.
func dataOf(line []byte) ([]byte, bool) {
	if bytes.Equal(line, []byte("data")) {
		return nil, true
	}
	value, ok := bytes.CutPrefix(line, []byte("data:"))
	return bytes.TrimPrefix(value, []byte(" ")), ok
}

// line reads to the next line end, without it.
func (e *eventReader) line() ([]byte, error) {
	var out []byte
	for {
		part, err := e.in.ReadSlice('\n')
		out = append(out, part...)
		if len(out) > maxEvent {
			return nil, errEventTooLong
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if e.first {
			e.first = false
			out = bytes.TrimPrefix(out, []byte("\xEF\xBB\xBF"))
		}
		out = bytes.TrimSuffix(bytes.TrimSuffix(out, []byte("\n")), []byte("\r"))
		return out, err
	}
}
