package openai

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"modelops/messages"
)

// All bodies together take no more memory than they may, whether their length is known or not; who finds no room waits, and is refused after its time.
func TestBodiesShareABudget(t *testing.T) {
	entered, proceed := make(chan struct{}, 9), make(chan struct{})
	e := engine(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		entered <- struct{}{}
		<-proceed
	})
	budget := messages.NewBudget(40 << 10)
	h := open(t, grants(e.URL), func(o *Options) { o.Bodies = budget })
	body := func(n int) string {
		return `{"model":"tiny","prompt":"` + strings.Repeat("x", n<<10) + `"}`
	}
	first := make(chan *http.Response)
	go func() {
		resp, err := h.send(context.WithoutCancel(t.Context()), "POST", chat, body(24))
		if err != nil {
			t.Error(err)
		}
		first <- resp
	}()
	<-entered
	if used := budget.Used(); used < 24<<10 {
		t.Errorf("used %d", used)
	}
	for name, c := range map[string]struct {
		size    int
		chunked bool
		status  int
	}{"no room": {24, false, 504}, "no room, length unknown": {24, true, 504}, "never room": {41, false, 413}} {
		r, _ := http.NewRequestWithContext(t.Context(), "POST", h.URL+chat, io.MultiReader(strings.NewReader(body(c.size))))
		if !c.chunked {
			r.ContentLength = int64(len(body(c.size)))
		}
		r.Header.Set("X-Request-Timeout", "50ms")
		resp, err := h.Client().Do(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _ = resp.Body.Close(); resp.StatusCode != c.status {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
	}
	small := make(chan struct{})
	go func() { defer close(small); h.post(chat, `{"model":"tiny"}`) }()
	<-entered // a small one fits
	close(proceed)
	<-small
	_ = (<-first).Body.Close()
	for _, chunked := range []bool{false, true} {
		r, _ := http.NewRequestWithContext(t.Context(), "POST", h.URL+chat, io.MultiReader(strings.NewReader(body(24))))
		if !chunked {
			r.ContentLength = int64(len(body(24)))
		}
		resp, err := h.Client().Do(r)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%v %v", resp, err)
		}
		_ = resp.Body.Close()
	}
	h.counted()
	if budget.Used() != 0 {
		t.Errorf("left: %d", budget.Used())
	}
}
