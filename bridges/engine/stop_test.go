package engine

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// However a text is cut into tokens, what is shown is the text before the first stop string to be completed, never part of
// a rune, and never something that has to be taken back.
func TestGateShowsOnlyWhatIsCertain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		alphabet := rapid.StringMatching(`[abé🙂]{0,12}`)
		text := alphabet.Draw(t, "text")
		stop := rapid.StringMatching(`[abé]{1,4}`).Draw(t, "stop")
		gate := &textGate{stops: []string{stop}}
		var shown strings.Builder
		stopped := false
		for rest := text; rest != "" && !stopped; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "cut")
			show, word := gate.push(rest[:n])
			rest = rest[n:]
			if !utf8.ValidString(show) {
				t.Fatalf("showed part of a rune: %q", show)
			}
			shown.WriteString(show)
			stopped = word != ""
		}
		if !stopped {
			shown.WriteString(gate.flush())
		}
		want, _, found := strings.Cut(text, stop)
		if shown.String() != want || stopped != found {
			t.Fatalf("%q with stop %q: showed %q, stopped %v", text, stop, shown.String(), stopped)
		}
	})
}

func TestGateFlushesBrokenText(t *testing.T) {
	gate := &textGate{}
	if show, _ := gate.push("a\xf0\x9f"); show != "a" {
		t.Errorf("showed %q", show)
	}
	if rest := gate.flush(); rest != "\uFFFD" {
		t.Errorf("flushed %q", rest)
	}
}
