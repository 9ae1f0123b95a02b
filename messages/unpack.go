package messages

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"strings"
)

// Unpacked reads what a body of a Content-Encoding holds, at most most bytes: a small body can hold any amount. plain tells that it has no
// encoding, and is read as it is. What can't be unpacked is told by the first read.
func Unpacked(encoding string, body io.Reader, most int64) (r io.Reader, plain bool) {
	if !Packed(encoding) {
		return body, true
	}
	return &unpacker{encoding: encoding, body: body, most: most}, false
}

// Packed tells whether a Content-Encoding names any.
func Packed(encoding string) bool { e := normal(encoding); return e != "" && e != "identity" }

func normal(encoding string) string { return strings.ToLower(strings.TrimSpace(encoding)) }

// unpacker opens the body at the first read: its maker doesn't wait for the body's first bytes.
type unpacker struct {
	encoding   string
	body, open io.Reader
	most, seen int64
	err        error
}

func (u *unpacker) Read(p []byte) (int, error) {
	if u.open == nil && u.err == nil {
		if u.open, u.err = Unpack(u.encoding, u.body); u.err == ErrEncoding {
			u.err = Errorf(InferenceError, "", "the answer is compressed with %q, which nobody asked for", u.encoding).WithHint("let the engine send it plain")
		}
	}
	if u.err != nil {
		return 0, u.err
	}
	n, err := u.open.Read(p)
	if u.seen += int64(n); u.seen > u.most {
		u.err = Errorf(InferenceError, "", "the answer is larger than %s when it is unpacked", FormatBytes(uint64(u.most)))
		return 0, u.err
	}
	return n, err
}

// ErrEncoding says that a body is compressed in another way than those that are known here.
var ErrEncoding = errors.New("compressed with something else than gzip or deflate")

// Unpack opens a body of a Content-Encoding, and reads its first bytes for that. What it holds is as large as it says.
func Unpack(encoding string, body io.Reader) (io.Reader, error) {
	switch normal(encoding) {
	case "gzip", "x-gzip":
		return gzip.NewReader(body)
	case "deflate": // zlib's form by the standard; some servers send it without its head
		in := bufio.NewReader(body)
		if head, err := in.Peek(2); err == nil && (head[0]&0x0f != 8 || (int(head[0])<<8|int(head[1]))%31 != 0) {
			return flate.NewReader(in), nil
		}
		return zlib.NewReader(in)
	}
	return nil, ErrEncoding
}
