package runtime

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// words are a text, or a list of parts of which those of text count. Halves of letters stay in it, which encoding/json would lose: bytes that are no
// UTF-8 as they are, and half a surrogate pair as the three bytes of its number. A joiner takes them out.
type words string

// UnmarshalJSON implements json.Unmarshaler.
func (w *words) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '[' {
		if plain(b) {
			return json.Unmarshal(b, (*string)(w))
		}
		*w = words(unquoted(b))
		return nil
	}
	var parts []struct {
		Text words `json:"text"`
	}
	if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	for _, p := range parts {
		*w += p.Text
	}
	return nil
}

// plain tells whether encoding/json reads a value without loss, or says what is wrong with it.
func plain(b []byte) bool {
	return b[0] != '"' || utf8.Valid(b) && !strings.Contains(strings.ToLower(string(b)), `\ud`)
}

var escapes = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// unquoted is what a string of JSON says, whose form has been checked.
func unquoted(b []byte) string {
	var out []byte
	in := b[1 : len(b)-1]
	for i := 0; i < len(in); {
		switch {
		case in[i] != '\\':
			out = append(out, in[i])
			i++
		case in[i+1] != 'u':
			out = append(out, escapes[in[i+1]])
			i += 2
		default:
			n, _ := strconv.ParseUint(string(in[i+2:i+6]), 16, 16)
			i += 6
			if r := rune(n); utf16.IsSurrogate(r) {
				out = append(out, 0xE0|byte(r>>12), 0x80|byte(r>>6)&0xBF, 0x80|byte(r)&0xBF)
			} else {
				out = utf8.AppendRune(out, r)
			}
		}
	}
	return string(out)
}

// joiner makes whole letters of an answer's pieces. Engines cut text where a token ends, also within a letter: the first half waits for the next
// piece. A half without the other is U+FFFD, so that all text is UTF-8, which protobuf asks for.
type joiner struct{ half string }

// add is what can be passed on after another piece.
func (j *joiner) add(piece string) string {
	if j.half == "" && utf8.ValidString(piece) {
		return piece
	}
	in := j.half + piece
	j.half = ""
	var out strings.Builder
	for in != "" {
		r, n := letter(in)
		if n == 0 {
			j.half = in
			break
		}
		out.WriteRune(r)
		in = in[n:]
	}
	return out.String()
}

// rest is what stands for a half that waits in vain.
func (j *joiner) rest() string {
	if j.half == "" {
		return ""
	}
	j.half = ""
	return string(utf8.RuneError)
}

// letter is the first letter of a text and its length, 0 when its end is missing.
func letter(in string) (rune, int) {
	r, n := utf8.DecodeRuneInString(in)
	switch first, ok := surrogate(in); {
	case r != utf8.RuneError || n > 1:
		return r, n
	case ok && first < 0xDC00 && len(in) < 6 && (len(in) == 3 || in[3] == 0xED && (len(in) == 4 || in[4] >= 0xB0)):
		return 0, 0
	case ok:
		if second, ok := surrogate(in[3:]); ok && utf16.DecodeRune(first, second) != utf8.RuneError {
			return utf16.DecodeRune(first, second), 6
		}
		return utf8.RuneError, 3
	case !utf8.FullRuneInString(in):
		return 0, 0
	}
	return utf8.RuneError, 1
}

// surrogate is the half of a pair that a text begins with, in three bytes.
func surrogate(in string) (rune, bool) {
	if len(in) < 3 || in[0] != 0xED || in[1]&0xE0 != 0xA0 || in[2]&0xC0 != 0x80 {
		return 0, false
	}
	return 0xD000 | rune(in[1]&0x3F)<<6 | rune(in[2]&0x3F), true
}
