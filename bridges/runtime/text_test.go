package runtime

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"modelops/messages"
	"pgregory.net/rapid"
)

// Halves of letters are joined over the pieces of a stream, and what stays half is U+FFFD.
func TestHalfLetters(t *testing.T) {
	for name, c := range map[string]struct {
		pieces []string // as the engine writes them into its JSON
		want   []string
	}{
		"a pair over two":            {[]string{`a\ud83d`, `\ude00b`}, []string{"a", "😀b"}},
		"a pair with an empty piece": {[]string{`\uD83D`, ``, `\uDE00`}, []string{"😀"}},
		"a pair in one":              {[]string{`\ud83d\ude00\n\"`}, []string{"😀\n\""}},
		"the first half alone":       {[]string{`a\ud83d`}, []string{"a", "\uFFFD"}},
		"the first half, then text":  {[]string{`a\ud83d`, `b`}, []string{"a", "\uFFFDb"}},
		"the second half alone":      {[]string{`\ude00b`}, []string{"\uFFFDb"}},
		"two first halves":           {[]string{`\ud83d`, `\ud83d`, `\ude00`}, []string{"\uFFFD", "😀"}},
		"bytes over two":             {[]string{"caf\xc3", "\xa9 x"}, []string{"caf", "é x"}},
		"bytes over four":            {[]string{"\xf0", "\x9f", "\x98", "\x80"}, []string{"😀"}},
		"half a letter":              {[]string{"caf\xc3 x"}, []string{"caf\uFFFD x"}},
		"half a letter at the end":   {[]string{"caf\xc3"}, []string{"caf", "\uFFFD"}},
		"a byte of nothing":          {[]string{"a\xffb"}, []string{"a\uFFFDb"}},
	} {
		body := ""
		for _, p := range c.pieces {
			body += `data: {"choices":[{"delta":{"content":"` + p + `"}}]}` + "\n\n"
		}
		e := newEngine(t, says(200, "text/event-stream", body+"data: [DONE]\n\n"))
		var got []string
		res, err := newClient(t).Run(t.Context(), e.grant(), &messages.InferenceRequest{}, func(p *messages.InferenceChunk) error {
			got = append(got, p.Text)
			return nil
		})
		if err != nil || strings.Join(got, "|") != strings.Join(c.want, "|") || res.ResponseText != strings.Join(c.want, "") {
			t.Errorf("%s: %q %v %v, want %q", name, got, res, err, c.want)
		}
	}
	for body, want := range map[string]string{
		`{"choices":[{"message":{"content":"a\ud83d"}}]}`:                                "a\uFFFD",
		`{"choices":[{"text":"caf` + "\xc3" + `"}]}`:                                     "caf\uFFFD",
		`{"choices":[{"message":{"content":[{"text":"\ud83d"},{"text":"\ude00"}]}}]}`:    "😀",
		`{"choices":[{"message":{"content":"x"},"finish_reason":"st` + "\xc3" + `op"}]}`: "x",
		`{"choices":[{"message":{"content":"\u00e9\ud83d\\\/\b\f\t\r\ud83d\ude00"}}]}`:   "é\uFFFD\\/\b\f\t\r😀",
		`{"choices":[{"message":{"content":"x","reasoning_content":"` + "\xc3" + `"}}]}`: "x",
	} {
		e := newEngine(t, says(200, "application/json", body))
		res, err := newClient(t).Run(t.Context(), e.grant(), &messages.InferenceRequest{}, nil)
		if err != nil || res.ResponseText != want || !utf8.ValidString(res.FinishReason) {
			t.Errorf("%q: %v %v", body, res, err)
		}
	}
}

// Text that is cut anywhere, within letters too, comes back; any bytes come back as UTF-8.
func TestJoinedTextComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		if rapid.Bool().Draw(t, "broken") {
			text = string(rapid.SliceOf(rapid.SampledFrom([]byte("a\xc3\xa9\xed\xa0\xbd\xed\xb8\x80\xf0\x9f"))).Draw(t, "bytes"))
		}
		var j joiner
		got := ""
		for in := text; in != ""; {
			n := rapid.IntRange(1, len(in)).Draw(t, "cut")
			piece := j.add(in[:n])
			if !utf8.ValidString(piece) || len(j.half) > 5 {
				t.Fatalf("%q, held back %q", piece, j.half)
			}
			got, in = got+piece, in[n:]
		}
		got += j.rest()
		if utf8.ValidString(text) && got != text || !utf8.ValidString(got) {
			t.Fatalf("%q came back as %q", text, got)
		}
	})
}

func packed(t *testing.T, encoding, text string) []byte {
	var out bytes.Buffer
	var w io.WriteCloser
	switch encoding {
	case "gzip", "X-GZIP":
		w = gzip.NewWriter(&out)
	case "deflate":
		w = zlib.NewWriter(&out)
	default:
		w, _ = flate.NewWriter(&out, flate.BestSpeed)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	return out.Bytes()
}

func sends(status int, kind, encoding string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Content-Encoding", encoding)
		w.WriteHeader(status)
		_, _ = w.Write(body)
	}
}

// An answer that is compressed unasked is read: whole, as a stream, and as a refusal.
func TestPackedAnswers(t *testing.T) {
	for _, encoding := range []string{"gzip", "X-GZIP", "deflate", "raw"} {
		said, want := encoding, "Good day"
		if encoding == "raw" {
			said = "deflate"
		}
		e := newEngine(t, sends(200, "text/event-stream", said, packed(t, encoding, chatStream)))
		res, err := newClient(t).Run(t.Context(), e.grant(), &messages.InferenceRequest{}, func(*messages.InferenceChunk) error { return nil })
		if err != nil || res.ResponseText != want {
			t.Errorf("%s: %v %v", encoding, res, err)
		}
		e = newEngine(t, sends(200, "application/json", said, packed(t, encoding, `{"choices":[{"message":{"content":"zip"}}]}`)))
		if res, err = newClient(t).Run(t.Context(), e.grant(), &messages.InferenceRequest{}, nil); err != nil || res.ResponseText != "zip" {
			t.Errorf("%s: %v %v", encoding, res, err)
		}
		e = newEngine(t, sends(400, "application/json", said, packed(t, encoding, `{"error":{"message":"no such thing"}}`)))
		if _, err = newClient(t).Run(t.Context(), e.grant(), &messages.InferenceRequest{}, nil); err == nil || !strings.Contains(err.Error(), "no such thing") {
			t.Errorf("%s: %v", encoding, err)
		}
	}
}

// What can't be unpacked, or is too large then, is the worker's fault.
func TestPackedAnswersAreBounded(t *testing.T) {
	for encoding, c := range map[string]struct {
		body []byte
		want string
	}{
		"br":      {[]byte("x"), `compressed with "br"`},
		"gzip":    {packed(t, "gzip", strings.Repeat(": nothing\n\n", maxAnswer/10)), "larger than 64 MiB when it is unpacked"},
		"deflate": {packed(t, "deflate", chatStream)[:40], "EOF"},
	} {
		e := newEngine(t, sends(200, "text/event-stream", encoding, c.body))
		_, err := newClient(t).Run(t.Context(), e.grant(), &messages.InferenceRequest{}, func(*messages.InferenceChunk) error { return nil })
		if messages.CodeOf(err) != messages.InferenceError || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", encoding, err)
		}
	}
}
