package engine

import (
	"strings"
	"unicode/utf8"
)

// textGate lets generated text through once it is sure: whole UTF-8 sequences, and nothing that may still turn out to be
// the beginning of a stop string.
type textGate struct {
	stops []string
	held  string
}

// push adds a token's text. It returns what may be shown now and, once one has been seen, the stop string; the stop
// string itself and what follows it are never shown.
func (g *textGate) push(piece string) (show, stop string) {
	g.held += piece
	first := -1
	for _, s := range g.stops {
		if i := strings.Index(g.held, s); i >= 0 && (first < 0 || i < first) {
			first, stop = i, s
		}
	}
	if first >= 0 {
		show, g.held = g.held[:first], ""
		return show, stop
	}
	keep := partialRune(g.held)
	for _, s := range g.stops {
		keep = max(keep, overlap(g.held, s))
	}
	cut := len(g.held) - keep
	show, g.held = g.held[:cut], g.held[cut:]
	return show, ""
}

// flush returns what was held back when the text ends without a stop string.
func (g *textGate) flush() string {
	rest := g.held
	g.held = ""
	return strings.ToValidUTF8(rest, "\uFFFD")
}

// overlap is the length of the longest end of text that begins stop without completing it.
func overlap(text, stop string) int {
	for n := min(len(text), len(stop)-1); n > 0; n-- {
		if strings.HasSuffix(text, stop[:n]) {
			return n
		}
	}
	return 0
}

// partialRune is the length of an unfinished UTF-8 sequence at the end of text.
func partialRune(text string) int {
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		b := text[len(text)-n]
		if !utf8.RuneStart(b) {
			continue
		}
		if b >= utf8.RuneSelf && !utf8.FullRuneInString(text[len(text)-n:]) {
			return n
		}
		return 0
	}
	return 0
}
