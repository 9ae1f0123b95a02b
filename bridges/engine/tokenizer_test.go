package engine

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestTokenizeMatchesGolden(t *testing.T) {
	tok := tiny(t).Tokens
	for _, g := range goldens(t).Tokenize {
		if got := tok.Encode(g.Text, false, false); !slices.Equal(got, g.Tokens) {
			t.Errorf("%q: got %v, want %v", g.Text, got, g.Tokens)
		}
		if got := tok.Encode(g.Text, false, true); !slices.Equal(got, g.TokensParseSpecial) {
			t.Errorf("%q with specials: got %v, want %v", g.Text, got, g.TokensParseSpecial)
		}
		if got := tok.Decode(g.Tokens); got != g.Detokenized {
			t.Errorf("%q: detokenized %q, want %q", g.Text, got, g.Detokenized)
		}
	}
}

// Whatever bytes go in come out again, invalid UTF-8 included; only the space mark itself turns into a space.
func TestTokenizeRoundTrip(t *testing.T) {
	tok := tiny(t).Tokens
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z ,.<>|/]{0,40}`),
			rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "text")
		want := strings.ReplaceAll(text, spaceMark, " ")
		for _, special := range []bool{false, true} {
			if got := tok.Decode(tok.Encode(text, false, special)); got != want {
				t.Fatalf("special=%v: %q came back as %q", special, text, got)
			}
		}
	})
}

func FuzzTokenize(f *testing.F) {
	for _, s := range []string{"", "Hello, world!", "<|user|>hi</s>", "日本語\xff", "   "} {
		f.Add(s)
	}
	tok := tiny(f).Tokens
	f.Fuzz(func(t *testing.T, text string) {
		if got := tok.Decode(tok.Encode(text, false, true)); got != strings.ReplaceAll(text, spaceMark, " ") {
			t.Errorf("%q came back as %q", text, got)
		}
	})
}

func TestSpacePrefixAfterSpecials(t *testing.T) {
	tok := *tiny(t).Tokens
	tok.spacePrefix = true
	got := tok.Decode(tok.Encode("the<|user|>the</s>", false, true))
	if want := " the<|user|> the</s>"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
