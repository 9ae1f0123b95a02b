package openai

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// field is a top-level member that we act on. All others pass unread.
type field int

const (
	fieldModel field = iota
	fieldStream
	fieldMaxTokens
	fieldMaxCompletionTokens
	fieldMaxOutputTokens
	fieldN
	fieldTemperature
	fieldKeepAlive
	fieldCount
)

// memberKeepAlive is the place of the whole member keep_alive, its name included.
const memberKeepAlive = fieldCount

var fieldNames = [fieldCount]string{"model", "stream", "max_tokens", "max_completion_tokens", "max_output_tokens", "n", "temperature", "keep_alive"}

// maxDepth is where encoding/json gives up too.
const maxDepth = 10000

// span is where a value lies in the body: b[from:to]. The zero span is an absent field.
type span struct{ from, to int }

func (s span) present() bool { return s.to > 0 }

// envelope holds the places of the fields that we act on.
type envelope [fieldCount + 1]span

// badJSON is why a body was refused. Field is set when the trouble is with that field.
type badJSON struct {
	offset int
	field  string
	what   string
}

func (e *badJSON) Error() string { return fmt.Sprintf("%s at byte %d", e.what, e.offset) }

// scanBody walks the whole body once. It accepts exactly the objects that encoding/json calls valid, but for one case: a
// field that we act on may appear only once, because engines disagree on which of two counts, and a router that reads one
// while the engine reads the other can be bypassed.
func scanBody(b []byte) (envelope, error) {
	w := walker{b: b}
	var env envelope
	w.space()
	if w.peek() != '{' {
		return env, w.unexpected("a JSON object")
	}
	if err := w.object(1, &env); err != nil {
		return env, err
	}
	w.space()
	if w.i < len(b) {
		return env, w.unexpected("the end of the body")
	}
	return env, nil
}

type walker struct {
	b []byte
	i int
}

// peek is the current byte; 0, which is no JSON, at the end.
func (w *walker) peek() byte {
	if w.i < len(w.b) {
		return w.b[w.i]
	}
	return 0
}

func (w *walker) space() {
	for w.i < len(w.b) {
		switch w.b[w.i] {
		case ' ', '\n', '\t', '\r':
			w.i++
		default:
			return
		}
	}
}

func (w *walker) unexpected(wanted string) error {
	if w.i >= len(w.b) {
		return &badJSON{offset: w.i, what: "the body ends where " + wanted + " was expected"}
	}
	return &badJSON{offset: w.i, what: fmt.Sprintf("%q where %s was expected", w.b[w.i], wanted)}
}

func (w *walker) value(depth int) error {
	switch c := w.peek(); {
	case c == '"':
		_, err := w.text()
		return err
	case c == '{':
		return w.object(depth+1, nil)
	case c == '[':
		return w.array(depth + 1)
	case c == '-' || isDigit(c):
		return w.number()
	case c == 't':
		return w.literal("true")
	case c == 'f':
		return w.literal("false")
	case c == 'n':
		return w.literal("null")
	}
	return w.unexpected("a value")
}

// object walks the members; env is given only for the outermost object.
func (w *walker) object(depth int, env *envelope) error {
	if depth > maxDepth {
		return &badJSON{offset: w.i, what: "nesting is too deep"}
	}
	w.i++
	w.space()
	if w.peek() == '}' {
		w.i++
		return nil
	}
	for {
		from := w.i
		if w.peek() != '"' {
			return w.unexpected("a member's name")
		}
		escaped, err := w.text()
		if err != nil {
			return err
		}
		key := span{from, w.i}
		w.space()
		if w.peek() != ':' {
			return w.unexpected("a colon")
		}
		w.i++
		w.space()
		from = w.i
		if err := w.value(depth); err != nil {
			return err
		}
		if env != nil {
			if err := env.note(w.b, key, escaped, span{from, w.i}); err != nil {
				return err
			}
		}
		if done, err := w.next('}'); done || err != nil {
			return err
		}
	}
}

func (w *walker) array(depth int) error {
	if depth > maxDepth {
		return &badJSON{offset: w.i, what: "nesting is too deep"}
	}
	w.i++
	w.space()
	if w.peek() == ']' {
		w.i++
		return nil
	}
	for {
		if err := w.value(depth); err != nil {
			return err
		}
		if done, err := w.next(']'); done || err != nil {
			return err
		}
	}
}

// next steps over the comma to the next member, or over the closing bracket.
func (w *walker) next(closing byte) (done bool, err error) {
	w.space()
	switch w.peek() {
	case closing:
		w.i++
		return true, nil
	case ',':
		w.i++
		w.space()
		return false, nil
	}
	return false, w.unexpected("a comma or " + string(closing))
}

// Prompts are long strings of plain bytes, so these are passed eight at a time.
const (
	eachByte = 0x0101010101010101
	highBits = eachByte * 0x80
)

// skipPlain finds the next byte from i on that means something inside a string: a quote, a backslash, a control byte.
// Arithmetic on a word marks the high bit of each such byte; a borrow may mark a byte too many, but never before the first
// true one, and the walk byte by byte decides.
func skipPlain(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		v := binary.LittleEndian.Uint64(b[i:])
		quote, backslash := v^eachByte*'"', v^eachByte*'\\'
		if ((quote-eachByte)&^quote|(backslash-eachByte)&^backslash|(v-eachByte*0x20)&^v)&highBits != 0 {
			break
		}
	}
	for i < len(b) && b[i] >= 0x20 && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

func (w *walker) text() (escaped bool, err error) {
	w.i++
	for {
		w.i = skipPlain(w.b, w.i)
		switch w.peek() {
		case '"':
			w.i++
			return escaped, nil
		case '\\':
			escaped = true
			if err := w.escape(); err != nil {
				return escaped, err
			}
		default:
			return escaped, w.unexpected("a string's next character")
		}
	}
}

func (w *walker) escape() error {
	w.i++
	switch w.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		w.i++
		return nil
	case 'u':
		w.i++
		for range 4 {
			if !isHex(w.peek()) {
				return w.unexpected("a hexadecimal digit")
			}
			w.i++
		}
		return nil
	}
	return w.unexpected("an escape")
}

func (w *walker) number() error {
	if w.peek() == '-' {
		w.i++
	}
	switch c := w.peek(); {
	case c == '0':
		w.i++
	case isDigit(c):
		w.digits()
	default:
		return w.unexpected("a digit")
	}
	if w.peek() == '.' {
		w.i++
		if !w.digits() {
			return w.unexpected("a digit")
		}
	}
	if c := w.peek(); c == 'e' || c == 'E' {
		w.i++
		if c := w.peek(); c == '+' || c == '-' {
			w.i++
		}
		if !w.digits() {
			return w.unexpected("a digit")
		}
	}
	return nil
}

func (w *walker) digits() bool {
	from := w.i
	for isDigit(w.peek()) {
		w.i++
	}
	return w.i > from
}

func (w *walker) literal(word string) error {
	for j := range len(word) {
		if w.peek() != word[j] {
			return w.unexpected(word)
		}
		w.i++
	}
	return nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isHex(c byte) bool { return isDigit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' }

// note remembers a member if it is one that we act on.
func (env *envelope) note(b []byte, key span, escaped bool, value span) error {
	name := b[key.from+1 : key.to-1]
	if escaped {
		var s string
		if json.Unmarshal(b[key.from:key.to], &s) != nil {
			return &badJSON{offset: key.from, what: "a member's name can't be read"}
		}
		name = []byte(s)
	}
	f, ok := fieldOf(name)
	if !ok {
		return nil
	}
	if env[f].present() {
		return &badJSON{offset: key.from, field: fieldNames[f], what: fmt.Sprintf("%q is given twice", fieldNames[f])}
	}
	env[f] = value
	if f == fieldKeepAlive {
		env[memberKeepAlive] = span{key.from, value.to}
	}
	return nil
}

// fieldOf also takes the model's name in other cases, since engines written in Go do.
func fieldOf(name []byte) (field, bool) {
	if bytes.EqualFold(name, []byte("model")) {
		return fieldModel, true
	}
	for f := fieldStream; f < fieldCount; f++ {
		if string(name) == fieldNames[f] {
			return f, true
		}
	}
	return 0, false
}
