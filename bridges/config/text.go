package config

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// noText says why bytes are no text in UTF-8, and at which byte; empty when they are.
func noText(s string) (what string, at int) {
	for _, mark := range []string{"\xff\xfe", "\xfe\xff"} {
		if strings.HasPrefix(s, mark) {
			return "text in UTF-16 or UTF-32; save the file as UTF-8", 0
		}
	}
	for i, b := range []byte(s) {
		switch {
		case b == 0 && nulls(s) >= len(s)/4:
			return "text in UTF-16 or UTF-32, or no text; save the file as UTF-8", i
		case b == 0:
			return "a zero byte; the file is binary or damaged", i
		case b < ' ' && b != '\t' && b != '\n' && b != '\r' && b != '\f' && b != '\v', b == 0x7f:
			return "a control character; the file is binary or damaged", i
		}
	}
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n <= 1 {
			return "a byte that is not UTF-8; the file is binary, or in another encoding", i
		}
		i += n
	}
	return "", 0
}

func nulls(s string) int { return strings.Count(s, "\x00") }

// place is the line and the column of a byte. A column counts characters, as editors do.
func place(s string, at int) (line, col int) {
	before := []byte(s[:at])
	start := bytes.LastIndexByte(before, '\n') + 1
	return bytes.Count(before, []byte("\n")) + 1, utf8.RuneCount(before[start:]) + 1
}
