package openai

import (
	"compress/gzip"
	"io"
	"net/http"
	"testing"
)

// An answer that the engine compresses unasked is divided all the same, without asking for it again.
func TestAPackedAnswerIsDivided(t *testing.T) {
	h, api, o, first := crowded(t, 2)
	o.answer = func(w http.ResponseWriter, inputs []string) bool {
		if len(inputs) < 2 {
			return false
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, rows(row("a", 0), row("bb", 1)))
		return z.Close() == nil
	}
	a := h.embed(`"a"`)
	h.waiting(api, 1)
	b := h.embed(`"bb"`) // fills it
	o.waitFor(t, 1)
	for range 4 { // as many as would be sent if it weren't divided
		o.gate <- struct{}{}
	}
	first.is(t, 200, rows(row("first", 0)))
	a.is(t, 200, rows(row("a", 0)))
	b.is(t, 200, rows(row("bb", 0)))
	if a.header.Get("Content-Encoding") != "" || a.header.Get("X-Modelops-Batch") != "2" || h.gateway.asked != 2 {
		t.Errorf("headers %v, %d places", a.header, h.gateway.asked)
	}
}

// The outcome tells how large a request and its answer were, for who judges how long it took.
func TestTheOutcomeTellsTheSize(t *testing.T) {
	h := open(t, grants(engine(t, newOven(false).ServeHTTP).URL))
	body, answer := `{"model":"tiny","input":"x"}`, rows(row("x", 0))
	h.call("/v1/embeddings", body).is(t, 200, answer)
	h.gateway.failures(1)
	if got := h.gateway.outcomes[0].Bytes; got != int64(len(body)+len(answer)) {
		t.Errorf("%d bytes", got)
	}
}
