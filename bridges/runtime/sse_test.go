package runtime

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

func readEvents(r io.Reader) (out []string, err error) {
	e := newEventReader(r)
	for {
		next, err := e.next()
		if err != nil {
			return out, err
		}
		if next.failed {
			out = append(out, "failed")
		}
		out = append(out, string(next.data))
	}
}

func TestEvents(t *testing.T) {
	tests := map[string][]string{
		"":                                      nil,
		"data: a\n\ndata: b\n\n":                {"a", "b"},
		"data:a\r\n\r\n":                        {"a"},
		"data:  a\n\n":                          {"a"},
		"data\n\n":                              nil,
		"data:\n\n: c\n\ndata:  \n\n":           nil,
		"data: [DONE] \n\n":                     {"[DONE]"},
		"data: a\r\rdata: b\r\r":                {"a", "b"},
		"data: a\r\ndata: b\r\n\r\n":            {"a\nb"},
		"error: {\"code\":400}\n\n":             {"failed", "{\"code\":400}"},
		"event: error\ndata: a\n\ndata: b\n\n":  {"failed", "a", "b"},
		"data: a\ndata: b\n\n":                  {"a\nb"},
		": hello\nevent: x\nid: 1\ndata: a\n\n": {"a"},
		"event: x\n\ndata: a\n\n":               {"a"},
		"\n\n\ndata: a\n\n\n":                   {"a"},
		"data: a":                               {"a"},
		"data: a\n":                             {"a"},
		"\xEF\xBB\xBFdata: a\n\n":               {"a"},
		"datax: a\n\n":                          nil,
	}
	for in, want := range tests {
		for name, r := range map[string]io.Reader{"whole": strings.NewReader(in), "by byte": iotest.OneByteReader(strings.NewReader(in))} {
			if got, err := readEvents(r); !errors.Is(err, io.EOF) || !slices.Equal(got, want) {
				t.Errorf("%q %s: %q %v, want %q", in, name, got, err, want)
			}
		}
	}
}

func TestEventsAreBounded(t *testing.T) {
	endless := io.MultiReader(strings.NewReader("data: "), zeros{})
	if _, err := readEvents(endless); !errors.Is(err, errEventTooLong) {
		t.Error(err)
	}
	many := io.MultiReader(strings.NewReader(strings.Repeat("data: "+strings.Repeat("x", 1<<20)+"\n", 5)))
	if _, err := readEvents(many); !errors.Is(err, errEventTooLong) {
		t.Error(err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// What was written as events is read as it was, however the network cuts it.
func TestEventsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.SliceOf(rapid.StringMatching(`[a-z:]([ a-z:]{0,40}[a-z])?(\n[a-z]{1,5}){0,2}`)).Draw(t, "texts")
		end := rapid.SampledFrom([]string{"\n", "\r\n", "\r"}).Draw(t, "end")
		var wire bytes.Buffer
		for _, s := range texts {
			for l := range strings.SplitSeq(s, "\n") {
				wire.WriteString("data: " + l + end)
			}
			wire.WriteString(end)
		}
		got, err := readEvents(iotest.HalfReader(&wire))
		if !errors.Is(err, io.EOF) || !slices.Equal(got, texts) {
			t.Fatalf("%q %v, want %q", got, err, texts)
		}
	})
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte(chatStream))
	f.Fuzz(func(t *testing.T, b []byte) {
		whole, err1 := readEvents(bytes.NewReader(b))
		parts, err2 := readEvents(iotest.OneByteReader(bytes.NewReader(b)))
		if !slices.Equal(whole, parts) || (err1 == nil) != (err2 == nil) {
			t.Errorf("%q %v by byte %q %v", whole, err1, parts, err2)
		}
		for _, e := range whole {
			_, _ = parseMessage([]byte(e))
		}
	})
}
