package openai

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"modelops/messages"
)

// wish is one caller of the property: what it asks for, and when it leaves; 0 = never.
type wish struct {
	inputs []string
	leaves time.Duration
}

var wishes = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) wish {
	w := wish{inputs: rapid.SliceOfN(rapid.SampledFrom([]string{"a", "bb", "ccc", "bad", "dddd"}), 1, 4).Draw(t, "inputs")}
	if rapid.IntRange(0, 4).Draw(t, "leaves") == 0 {
		w.leaves = time.Duration(rapid.IntRange(1, 3000).Draw(t, "after")) * time.Microsecond
	}
	return w
}), 1, 14)

// Whatever members, sizes, failures and departures there are: every member gets exactly the answer that it would get alone, once.
func TestEveryMemberGetsItsOwnAnswer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(2, 6).Draw(t, "most")
		window := time.Duration(rapid.IntRange(1, 3000).Draw(t, "window")) * time.Microsecond
		confused := rapid.SliceOfN(rapid.Bool(), 8, 8).Draw(t, "confused")
		o := newOven(false)
		o.came = make(chan string, 1000)
		var nth atomic.Int64
		// Now and then a list of more than any wish has is answered wrongly: its members must be asked for again.
		o.answer = func(w http.ResponseWriter, inputs []string) bool {
			if len(inputs) <= 4 || !confused[int(nth.Add(1))%len(confused)] {
				return false
			}
			_, _ = io.WriteString(w, `{"data":[]}`)
			return true
		}
		e := httptest.NewServer(o)
		defer e.Close()
		gate := grants(e.URL)
		gate.released = make(chan struct{}, 1000)
		gate.admit = func(context.Context, string) (*messages.Grant, error) {
			return &messages.Grant{Model: "tiny", Upstream: "tiny", URL: e.URL}, nil
		}
		api := New(Options{Gateway: gate, Heartbeat: -1, RetryDelay: time.Millisecond,
			Batching: func(string) Batching { return Batching{Window: window, MaxSize: most} }})
		defer api.Close()
		var crowd sync.WaitGroup
		wrong := make(chan string, 100)
		for _, w := range wishes.Draw(t, "wishes") {
			crowd.Go(func() { w.ask(api, wrong) })
		}
		crowd.Wait()
		close(wrong)
		for said := range wrong {
			t.Error(said)
		}
	})
}

// ask says what is wrong with the answer.
func (w wish) ask(api *API, wrong chan<- string) {
	ctx := context.Background()
	if w.leaves > 0 {
		c, cancel := context.WithTimeout(ctx, w.leaves)
		defer cancel()
		ctx = c
	}
	defer func() {
		if p := recover(); p != nil && ctx.Err() == nil { // http.ErrAbortHandler, for a caller that is there
			wrong <- fmt.Sprintf("%v: %v", w.inputs, p)
		}
	}()
	var quoted, want []string
	for i, in := range w.inputs {
		quoted = append(quoted, fmt.Sprintf("%q", in))
		want = append(want, row(in, i))
	}
	slices.Reverse(want)
	status, body := 200, rows(want...)
	if slices.Contains(w.inputs, "bad") {
		status, body = 400, `{"error":"bad input"}`
	}
	answer := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(ctx, "POST", "/v1/embeddings", strings.NewReader(`{"model":"tiny","input":[`+strings.Join(quoted, ",")+`]}`))
	api.ServeHTTP(answer, r)
	if got := answer.Body.String(); ctx.Err() == nil && (answer.Code != status || got != body) {
		wrong <- fmt.Sprintf("%v: %d %s, want %d %s", w.inputs, answer.Code, got, status, body)
	}
}
