package rest

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// watching answers Watch from a script, and remembers what was asked.
type watching struct {
	mu      sync.Mutex
	asked   []*messages.WatchRequest
	answers []*messages.WatchReply
}

func (w *watching) operations() messages.Operations {
	return messages.Through(func(_ context.Context, _ messages.Operation, r proto.Message) (proto.Message, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.asked = append(w.asked, proto.CloneOf(r.(*messages.WatchRequest)))
		if len(w.answers) == 0 {
			return nil, messages.NewError(messages.Unavailable, "main_pc", "the daemon is stopping")
		}
		a := w.answers[0]
		w.answers = w.answers[1:]
		return a, nil
	})
}

// A caller that takes server-sent events gets each decision as one, and goes on after an interruption where it was.
func TestWatchStreams(t *testing.T) {
	said := func(host, id string) *messages.RecordedDecision {
		return &messages.RecordedDecision{Host: host, Id: id, Events: []*messages.RecordedEvent{{Name: "model.ready"}}}
	}
	ops := &watching{answers: []*messages.WatchReply{{Next: "main_pc=4,pc2=7"},
		{Decisions: []*messages.RecordedDecision{said("pc2", "cause"), said("main_pc", "effect")}, Next: "main_pc=5,pc2=8"}, {Next: "main_pc=5,pc2=8"}}}
	w := startWith(t, Options{OpenAI: http.HandlerFunc(nothing), Operations: ops.operations()})
	open := func(query string, header ...string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.s.Addr().String()+watchPath+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", "text/event-stream")
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		resp, err := w.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp
	}
	resp := open("?host=pc2&after=x", "Last-Event-ID", "main_pc=4,pc2=7")
	var lines []string
	for in := bufio.NewScanner(resp.Body); in.Scan(); {
		line := in.Text()
		if body, ok := strings.CutPrefix(line, "data: "); ok {
			var d struct{ Host, ID, Code string }
			if err := json.Unmarshal([]byte(body), &d); err != nil {
				t.Error(err, body)
			}
			line = "data: " + d.Host + d.ID + d.Code
		}
		lines = append(lines, line)
	}
	got := strings.Join(lines, "|")
	want := `:||event: decision|data: pc2cause||id: main_pc=5,pc2=8|event: decision|data: main_pceffect||:||event: error|data: UNAVAILABLE|`
	if got != want || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if q := ops.asked; len(q) != 4 || q[0].After != "main_pc=4,pc2=7" || q[0].WaitMs != 0 || q[0].Host != "pc2" || q[2].After != "main_pc=5,pc2=8" || q[2].WaitMs != quietWait {
		t.Errorf("asked %v", q)
	}
	for query, code := range map[string]int{"": 503, "?hosts=pc2": 400, "?limit=many": 400} { // refused before the stream begins
		if resp := open(query); resp.StatusCode != code {
			t.Errorf("%q: %s", query, resp.Status)
		}
	}
}
