package cli

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// For any division of a log into writes, the skipped bytes are left out and every complete line is printed once.
func TestLogWriters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(rapid.StringMatching(`[ab\n]{0,40}`).Draw(t, "text"))
		skip := rapid.IntRange(0, len(text)).Draw(t, "skip")
		var lines []string
		var raw bytes.Buffer
		cut := &skipping{&lineWriter{print: func(l string) error { lines = append(lines, l); return nil }}, int64(skip)}
		plain := &skipping{&raw, int64(skip)}
		for rest := text; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "n")
			for _, w := range []*skipping{cut, plain} {
				if m, err := w.Write(rest[:n]); m != n || err != nil {
					t.Fatal(m, err)
				}
			}
			rest = rest[n:]
		}
		if raw.String() != string(text[skip:]) {
			t.Fatalf("%q", raw.String())
		}
		want := []string{}
		for _, l := range bytes.SplitAfter(text[skip:], []byte("\n")) {
			if bytes.HasSuffix(l, []byte("\n")) {
				want = append(want, string(l[:len(l)-1]))
			}
		}
		if !slices.Equal(append([]string{}, lines...), want) {
			t.Fatalf("%q, want %q", lines, want)
		}
	})
}
