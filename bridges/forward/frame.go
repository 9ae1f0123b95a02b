package forward

import (
	"encoding/binary"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// A connection carries frames. Each begins with the length of its content, its kind, its stream, and how much of its content is the head of a message:
// a messages.ForwardFrame without its body. The rest is the body, which is copied once and never encoded.
const frameHeader = 4 + 1 + 8 + 4

// mostCredit is what one frame can give back: a window that one more message has overdrawn.
const mostCredit = window + frameLimit

// kind of a frame.
type kind byte

const (
	frameOpen   kind = iota + 1 // the first message of a stream, by who asks
	frameMore                   // a further message of either end
	frameCredit                 // so many bytes were read, in the place of the head's length: as many more may come
	frameCut                    // the stream ends here: who asked has left, or who was asked doesn't take it
	framePing                   // is answered with a pong
	framePong
	frameLeaving // no further stream is taken

	// lastFlag comes with a message: it is the last one of its direction.
	lastFlag kind = 0x80
)

// put appends a frame with a message.
func put(to []byte, k kind, stream uint64, f *messages.ForwardFrame, body []byte) ([]byte, error) {
	at := len(to)
	to = bare(to, k, stream, 0)
	if f != nil {
		var err error
		if to, err = (proto.MarshalOptions{}).MarshalAppend(to, f); err != nil {
			return to[:at], err
		}
		binary.BigEndian.PutUint32(to[at+13:], uint32(len(to)-at-frameHeader))
	}
	to = append(to, body...)
	size := len(to) - at - frameHeader
	if size > frameLimit {
		return to[:at], messages.Errorf(messages.PayloadTooLarge, "request", "its head has %d bytes, and may have %d", size-len(body), frameLimit)
	}
	binary.BigEndian.PutUint32(to[at:], uint32(size))
	return to, nil
}

// bare appends a frame without content.
func bare(to []byte, k kind, stream uint64, n uint32) []byte {
	to = append(to, 0, 0, 0, 0, byte(k))
	to = binary.BigEndian.AppendUint64(to, stream)
	return binary.BigEndian.AppendUint32(to, n)
}

// frame is one that was read.
type frame struct {
	kind    kind
	last    bool
	stream  uint64
	n       int // length of the head, or credit
	content []byte
}

// readFrame reads one frame, into memory of its own; header is scratch space.
func readFrame(r io.Reader, header []byte) (f frame, err error) {
	if _, err := io.ReadFull(r, header[:frameHeader]); err != nil {
		return f, err
	}
	size := binary.BigEndian.Uint32(header)
	f = frame{kind: kind(header[4]) &^ lastFlag, last: kind(header[4])&lastFlag != 0, stream: binary.BigEndian.Uint64(header[5:]), n: int(binary.BigEndian.Uint32(header[13:]))}
	isMessage := f.kind == frameOpen || f.kind == frameMore
	if size > frameLimit || isMessage && f.n > int(size) || !isMessage && (size > 0 || f.n > mostCredit) {
		return f, fmt.Errorf("a frame of kind %d, %d bytes and %d for its head can't be", f.kind, size, f.n)
	}
	if size > 0 {
		f.content = make([]byte, size)
		_, err = io.ReadFull(r, f.content)
	}
	return f, err
}

// message decodes the frame's message. Its body is not copied.
func (f frame) message() (*messages.ForwardFrame, error) {
	m := new(messages.ForwardFrame)
	if err := proto.Unmarshal(f.content[:f.n], m); err != nil {
		return nil, err
	}
	m.Body = f.content[f.n:]
	return m, nil
}
