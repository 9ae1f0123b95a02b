package engine

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	itemText = iota
	itemPrint
	itemTag
)

// templateItem is a stretch of plain text, a {{ }} or a {% %}.
type templateItem struct {
	kind  int
	raw   string
	words []word
}

// text is a tag's first word.
func (i templateItem) text() string {
	if i.kind != itemTag || len(i.words) == 0 {
		return ""
	}
	return i.words[0].text
}

const (
	wordName = iota
	wordString
	wordNumber
	wordSign
)

type word struct {
	kind   int
	text   string
	number float64
}

// lexTemplate cuts a template into items. As in all chat templates, a newline after a tag and the blanks before a tag at
// the start of a line are dropped (trim_blocks, lstrip_blocks), and a "-" strips all space on its side.
func lexTemplate(text string) ([]templateItem, error) {
	var items []templateItem
	trim := false // the last tag asked to strip what follows
	for text != "" {
		open := nextOpen(text)
		plain := text
		if open >= 0 {
			plain = text[:open]
		}
		if trim {
			plain = strings.TrimLeft(plain, " \t\r\n")
			trim = false
		}
		if open < 0 {
			return appendText(items, plain), nil
		}
		mark := text[open : open+2]
		closing := map[string]string{"{{": "}}", "{%": "%}", "{#": "#}"}[mark]
		end, err := findClose(text, open+2, closing)
		if err != nil {
			return nil, err
		}
		inner := text[open+2 : end]
		text = text[end+2:]
		if strings.HasPrefix(inner, "-") {
			inner = inner[1:]
			plain = strings.TrimRight(plain, " \t\r\n")
		} else if mark != "{{" {
			if line := strings.LastIndexByte(plain, '\n'); strings.Trim(plain[line+1:], " \t") == "" && (line >= 0 || len(items) == 0) {
				plain = plain[:line+1]
			}
		}
		if strings.HasSuffix(inner, "-") {
			inner = inner[:len(inner)-1]
			trim = true
		} else if mark != "{{" {
			text = strings.TrimPrefix(text, "\n")
		}
		items = appendText(items, plain)
		if mark == "{#" {
			continue
		}
		item := templateItem{kind: itemPrint}
		if mark == "{%" {
			item.kind = itemTag
		}
		if item.words, err = lexWords(inner); err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

func appendText(items []templateItem, text string) []templateItem {
	if text == "" {
		return items
	}
	return append(items, templateItem{kind: itemText, raw: text})
}

func nextOpen(text string) int {
	for i := 0; i+1 < len(text); i++ {
		if text[i] == '{' && (text[i+1] == '{' || text[i+1] == '%' || text[i+1] == '#') {
			return i
		}
	}
	return -1
}

// findClose finds the end of a tag, passing over strings.
func findClose(text string, from int, closing string) (int, error) {
	var quote byte
	for i := from; i < len(text); i++ {
		c := text[i]
		switch {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case closing != "#}" && (c == '\'' || c == '"'):
			quote = c
		case strings.HasPrefix(text[i:], closing):
			return i, nil
		}
	}
	return 0, fmt.Errorf("%q is missing", closing)
}

func isName(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func lexWords(s string) ([]word, error) {
	var words []word
	for i := 0; i < len(s); {
		start := i
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
			continue
		case isName(c):
			for i < len(s) && (isName(s[i]) || isDigit(s[i])) {
				i++
			}
			words = append(words, word{kind: wordName, text: s[start:i]})
		case isDigit(c):
			for i < len(s) && (isDigit(s[i]) || s[i] == '.') {
				i++
			}
			n, err := strconv.ParseFloat(s[start:i], 64)
			if err != nil {
				return nil, fmt.Errorf("number %q: %w", s[start:i], err)
			}
			words = append(words, word{kind: wordNumber, text: s[start:i], number: n})
		case c == '\'' || c == '"':
			text, n, err := unquote(s[i:])
			if err != nil {
				return nil, err
			}
			i += n
			words = append(words, word{kind: wordString, text: text})
		default:
			i++
			if i < len(s) && strings.Contains("== != <= >= // **", s[start:i+1]) && s[i] != ' ' {
				i++
			}
			words = append(words, word{kind: wordSign, text: s[start:i]})
		}
	}
	return words, nil
}

// unquote reads a string literal at the start of s and says how long it was.
func unquote(s string) (string, int, error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == s[0]:
			return b.String(), i + 1, nil
		case c == '\\' && i+1 < len(s):
			i++
			switch s[i] {
			case 'n':
				b.WriteByte('\n')
			case 't':
				b.WriteByte('\t')
			case 'r':
				b.WriteByte('\r')
			default:
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", 0, fmt.Errorf("a string does not end: %s", s)
}
