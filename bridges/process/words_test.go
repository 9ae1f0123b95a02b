package process

import (
	"slices"
	"strings"
	"testing"

	"modelops/messages"
	"pgregory.net/rapid"
)

func TestSplitWords(t *testing.T) {
	tests := map[string][]string{
		"":                                    nil,
		"  \n\t":                              nil,
		"a b":                                 {"a", "b"},
		"a\n  --b c\n":                        {"a", "--b", "c"},
		"a \\\n  b":                           {"a", "b"},
		"a \\\r\n  b":                         {"a", "b"},
		"# first\nrun # why\n  # and\n --x":   {"run", "--x"},
		"a#b":                                 {"a#b"},
		`'a b' "c d"`:                         {"a b", "c d"},
		`a'b c'd`:                             {"ab cd"},
		`"" ''`:                               {"", ""},
		`"a\"b\\c\d"`:                         {`a"b\c\d`},
		`'a\b'`:                               {`a\b`},
		`a\ b`:                                {"a b"},
		`$HOME; ls | cat > x && y`:            {"$HOME;", "ls", "|", "cat", ">", "x", "&&", "y"},
		`--json '{"a": "b"}'`:                 {"--json", `{"a": "b"}`},
		"run \\\n  # a comment between\n --x": {"run", "--x"},
		`end\`:                                {`end\`},
	}
	for in, want := range tests {
		if got, err := SplitWords(in); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q %v, want %q", in, got, err, want)
		}
	}
	for _, bad := range []string{`'`, `a "b`, `a 'b c`, `"\"`} {
		if _, err := SplitWords(bad); messages.CodeOf(err) != messages.InvalidArgument {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// Whatever the words are, quoted they come back as they were.
func TestSplitWordsUndoesQuoting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOf(rapid.String()).Draw(t, "words")
		var line strings.Builder
		for _, w := range words {
			line.WriteString(`"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(w) + "\" ")
		}
		got, err := SplitWords(line.String())
		if err != nil || !slices.Equal(got, words) {
			t.Fatalf("%q: %q %v", words, got, err)
		}
	})
}

func FuzzSplitWords(f *testing.F) {
	f.Add("a 'b' \"c\" \\\n#d")
	f.Fuzz(func(t *testing.T, s string) {
		words, err := SplitWords(s)
		if err == nil && len(strings.Join(words, "")) > len(s) {
			t.Errorf("%q grew to %q", s, words)
		}
	})
}

func TestExpand(t *testing.T) {
	m := Macros{Values: map[string]string{"PORT": "81", "MODEL_ID": "${PORT}"}, Env: Environment{"HOME": "/root", "EMPTY": ""}}
	tests := map[string]string{
		"":                                   "",
		"plain $PORT {PORT}":                 "plain $PORT {PORT}",
		"http://127.0.0.1:${PORT}/x":         "http://127.0.0.1:81/x",
		"${env.HOME}${env.EMPTY}${env.HOME}": "/root/root",
		"${MODEL_ID}":                        "${PORT}", // values are not expanded again
	}
	for in, want := range tests {
		if got, err := m.Expand(in); err != nil || got != want {
			t.Errorf("%q: %q %v, want %q", in, got, err, want)
		}
	}
	for _, bad := range []string{"${PORT", "${NOPE}", "${env.NOPE}", "${PID}", "${}"} {
		if _, err := m.Expand(bad); messages.CodeOf(err) != messages.InvalidArgument {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzExpand(f *testing.F) {
	f.Add("a ${PORT} ${env.X}")
	f.Fuzz(func(t *testing.T, s string) {
		m := Macros{Values: map[string]string{"PORT": "1"}, Env: Environment{"X": "y"}}
		if out, err := m.Expand(s); err == nil && !strings.Contains(s, "${") && out != s {
			t.Errorf("%q became %q", s, out)
		}
	})
}
