package messages

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"strings"
)

// Unpacked reads what a body of a Content-Encoding holds, at most most bytes: a small body can hold any amount. plain tells that it has no
// encoding, and is read as it is. What can't be unpacked is told by the first read.
func Unpacked(encoding string, body io.Reader, most int64) (r io.Reader, plain bool) {
	encoding = strings.ToLower(strings.TrimSpace(encoding))
	if encoding == "" || encoding == "identity" {
		return body, true
	}
	return &unpacker{encoding: encoding, body: body, most: most}, false
}

// unpacker opens the body at the first read: its maker doesn't wait for the body's first bytes.
type unpacker struct {
	encoding   string
	body, open io.Reader
	most, seen int64
	err        error
}

func (u *unpacker) Read(p []byte) (int, error) {
	if u.open == nil && u.err == nil {
		u.open, u.err = opened(u.encoding, u.body)
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

func opened(encoding string, body io.Reader) (io.Reader, error) {
	switch encoding {
	case "gzip", "x-gzip":
		return gzip.NewReader(body)
	case "deflate": // zlib's form by the standard; some servers send it without its head
		in := bufio.NewReader(body)
		if head, err := in.Peek(2); err == nil && (head[0]&0x0f != 8 || (int(head[0])<<8|int(head[1]))%31 != 0) {
			return flate.NewReader(in), nil
		}
		return zlib.NewReader(in)
	}
	return nil, Errorf(InferenceError, "", "the answer is compressed with %q, which nobody asked for", encoding).WithHint("let the engine send it plain")
}
