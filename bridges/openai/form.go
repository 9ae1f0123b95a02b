package openai

import (
	"bufio"
	"bytes"
	"fmt"
	"mime"
	"net/textproto"
	"strings"
)

// mostParts bounds the parts of a form.
const mostParts = 1000

// readForm finds the model in a multipart form, such as an audio file with its options. Files pass unread.
func readForm(body []byte, boundary string) (*question, *refusal) {
	q := &question{body: body}
	dash := []byte("--" + boundary)
	rest, ok := bytes.CutPrefix(body, dash)
	if !ok {
		_, rest, ok = bytes.Cut(body, append([]byte("\r\n"), dash...)) // a preamble
	}
	if !ok {
		return nil, invalid("", "the multipart form doesn't begin with its boundary")
	}
	closing := append([]byte("\r\n"), dash...)
	for n := 0; !bytes.HasPrefix(rest, []byte("--")); n++ {
		if n == mostParts {
			return nil, invalid("", fmt.Sprintf("the form has more than %d parts", mostParts))
		}
		_, rest, ok = bytes.Cut(rest, []byte("\r\n")) // what may stand behind the boundary
		end := bytes.Index(rest, closing)
		if !ok || end < 0 {
			return nil, invalid("", "the multipart form has no end: the boundary that closes it is missing")
		}
		if bad := q.part(rest[:end], len(body)-len(rest)); bad != nil {
			return nil, bad
		}
		rest = rest[end+len(closing):]
	}
	return q, nil
}

// part reads one part, which lies at offset from of the body.
func (q *question) part(part []byte, from int) *refusal {
	head, value, ok := bytes.Cut(part, []byte("\r\n\r\n"))
	if !ok {
		return nil // without content
	}
	header, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(append(bytes.Clone(head), "\r\n\r\n"...)))).ReadMIMEHeader()
	if err != nil {
		return invalid("", "a part of the form has a head that can't be read")
	}
	_, params, err := mime.ParseMediaType(header.Get("Content-Disposition"))
	if err != nil || params["filename"] != "" {
		q.modelFile = q.modelFile || params["name"] == "model"
		return nil
	}
	switch params["name"] {
	case "model":
		if q.at.present() {
			return invalid("model", `"model" is given twice`)
		}
		q.model, q.at, q.bare = string(value), span{from + len(head) + 4, from + len(part)}, true
	case "stream":
		q.stream = strings.EqualFold(string(value), "true")
	}
	return nil
}
