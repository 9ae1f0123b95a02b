package openai

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
)

// part is a member of a JSON object: its name, its value's bytes as they are, and where these lie in the object's.
type part struct {
	name  string
	value []byte
	at    span
}

const maxParts = 64

// partsOf takes an object apart, in its order. It is false for other values, and for an object with a duplicate name:
// readers disagree on which of the two counts. An object with more parts than any request or answer of ours isn't taken apart either.
func partsOf(object []byte) ([]part, bool) {
	var parts []part
	w := walker{b: object}
	ok := w.list('{', '}', func() bool {
		from := w.i
		if w.peek() != '"' {
			return false
		}
		if _, err := w.text(); err != nil {
			return false
		}
		name, err := textOf(w.b[from:w.i])
		if err != nil || len(parts) == maxParts || partOf(parts, name) != nil {
			return false
		}
		w.space()
		if w.peek() != ':' {
			return false
		}
		w.i++
		w.space()
		from = w.i
		if w.value(1) != nil {
			return false
		}
		parts = append(parts, part{name: name, value: w.b[from:w.i], at: span{from, w.i}})
		return true
	})
	return parts, ok
}

// elementsOf takes an array apart; each element as its bytes.
func elementsOf(array []byte) ([][]byte, bool) {
	var elements [][]byte
	w := walker{b: array}
	ok := w.list('[', ']', func() bool {
		from := w.i
		if w.value(1) != nil {
			return false
		}
		elements = append(elements, w.b[from:w.i])
		return true
	})
	return elements, ok
}

// list walks what stands between brackets, and allows nothing but space around it.
func (w *walker) list(opening, closing byte, each func() bool) bool {
	w.space()
	if w.peek() != opening {
		return false
	}
	w.i++
	w.space()
	if w.peek() == closing {
		w.i++
	} else {
		for {
			if !each() {
				return false
			}
			done, err := w.next(closing)
			if err != nil {
				return false
			}
			if done {
				break
			}
		}
	}
	w.space()
	return w.i == len(w.b)
}

// partOf is the value of a part; nil when there is none of that name.
func partOf(parts []part, name string) []byte {
	for _, p := range parts {
		if p.name == name {
			return p.value
		}
	}
	return nil
}

func compact(value []byte) []byte {
	var b bytes.Buffer
	if json.Compact(&b, value) != nil {
		return value
	}
	return b.Bytes()
}

// personal headers describe the caller, not the request; an engine that answers several callers at once sees none of
// them. Priority and keep-alive came in with ours (X-Modelops-...) and are the gateway's.
var personal = map[string]bool{
	"Accept": true, "Accept-Encoding": true, "Accept-Language": true, "User-Agent": true, "Traceparent": true, "Tracestate": true,
	"Baggage": true, "Forwarded": true, "X-Real-Ip": true, "Via": true, "Dnt": true, "Priority": true, "Cache-Control": true, "Pragma": true,
}

var personalPrefixes = []string{"X-Forwarded-", "X-Modelops-", "X-Stainless-", "Sec-"}

// sharedHeader is the part of a request's headers that all members of its batch must have in common.
func sharedHeader(in http.Header) http.Header {
	out := http.Header{}
	named := namedIn(in["Connection"])
	for name, values := range in {
		if hop[name] || withheld[name] || named[name] || personal[name] {
			continue
		}
		own := false
		for _, prefix := range personalPrefixes {
			own = own || strings.HasPrefix(name, prefix)
		}
		if !own {
			out[name] = values
		}
	}
	return out
}
