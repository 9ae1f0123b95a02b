//go:build e2e

package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"modelops/messages"
)

// turnstile is an engine that answers one request each time it is told to, and tells whose it has.
type turnstile struct {
	*httptest.Server
	arrived chan string // the text of a request that is there
	answer  chan struct{}
}

func newTurnstile(t *testing.T) *turnstile {
	s := &turnstile{arrived: make(chan string, 16), answer: make(chan struct{})}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			fmt.Fprint(w, `{"object":"list","data":[]}`)
			return
		}
		var q struct {
			Stream   bool
			Messages []struct{ Content string }
		}
		if json.NewDecoder(r.Body).Decode(&q) != nil || len(q.Messages) != 1 {
			http.Error(w, "what?", http.StatusBadRequest)
			return
		}
		s.arrived <- q.Messages[0].Content
		select {
		case <-s.answer:
		case <-r.Context().Done():
			return
		}
		if q.Stream {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: {\"choices\":[]}\n\ndata: [DONE]\n\n")
			return
		}
		fmt.Fprint(w, `{"object":"chat.completion","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"done"}}]}`)
	}))
	t.Cleanup(s.Close)
	return s
}

// queue is what `modelops queue` shows, "state class caller place" a request.
func (d *daemon) queue(args ...string) []string {
	d.t.Helper()
	out := d.cli(append([]string{"queue", "--json"}, args...)...)
	q := &messages.QueueView{}
	if err := protojson.Unmarshal([]byte(out.out), q); out.code != 0 || err != nil {
		d.t.Fatalf("queue: %v %s", err, out)
	}
	var rows []string
	for _, r := range q.Requests {
		rows = append(rows, fmt.Sprintf("%s %s %s %d", r.State, r.Class, r.Caller, r.Position))
	}
	return rows
}

// TestKeysAndClasses: while the one place is taken, requests queue by the class of their keys, whatever the order of arrival; each is told where it
// stands, and `modelops queue` shows them all. No key is ever shown.
func TestKeysAndClasses(t *testing.T) {
	engine := newTurnstile(t)
	d := start(t, fmt.Sprintf(`
keys:
  - {name: alice, key: "${ALICE_KEY}", class: interactive}
  - {name: bob, key: canary-of-bob, class: batch}
resilience: {bulkhead: {max_concurrent: 1}}
models: {declare: {slow: {url: "%s/v1", aliases: [s]}}}
`, engine.URL), "ALICE_KEY=canary-of-alice")

	ask := func(text string, more ...any) object { return question("slow", text, more...) }
	for _, a := range []answer{
		d.post("/v1/chat/completions", ask("x"), "Authorization", "Bearer canary-of-eve"), d.do(t.Context(), "GET", "/v1/models", nil, "x-api-key", "canary-of-eve"),
	} {
		if a.status != 401 || a.code() != "UNAUTHENTICATED" && a.code() != "" {
			t.Errorf("a wrong key: %s", a)
		}
	}

	done := make(chan answer, 8)
	post := func(text string, header ...string) {
		go func() { done <- d.do(t.Context(), "POST", "/v1/chat/completions", ask(text), header...) }()
	}
	post("first")
	if got := <-engine.arrived; got != "first" {
		t.Fatal(got)
	}
	post("bob", "x-api-key", "canary-of-bob")
	d.until(waitLimit, "bob waits", func() bool { return len(d.queue()) == 2 })
	ctx, end := context.WithTimeout(t.Context(), waitLimit*2)
	defer end()
	streaming := make(chan *http.Response, 1)
	go func() {
		resp, err := d.send(ctx, "POST", "/v1/chat/completions", ask("stream", "stream", true))
		if err != nil {
			t.Error(err)
		}
		streaming <- resp
	}()
	d.until(waitLimit, "the stream waits", func() bool { return len(d.queue()) == 3 })
	post("alice", "Authorization", "Bearer canary-of-alice")
	d.until(waitLimit, "alice waits", func() bool { return len(d.queue()) == 4 })

	want := "running normal  0|waiting interactive alice 1|waiting normal  2|waiting batch bob 3"
	if got := strings.Join(d.queue("s"), "|"); got != want {
		t.Errorf("queue: %s", got)
	}
	if page := d.get("/api/queue"); page.status != 200 || !strings.Contains(string(page.body), `"caller":"alice"`) && !strings.Contains(string(page.body), `"caller": "alice"`) {
		t.Errorf("/api/queue: %s", page)
	}
	resp := <-streaming
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	comment, err := lines.ReadString('\n')
	if err != nil || resp.StatusCode != 200 || !strings.HasPrefix(comment, ": queued position=") || !strings.Contains(comment, " waits_for=") {
		t.Errorf("comment %q %v", comment, err)
	}

	for _, next := range []string{"alice", "stream", "bob", ""} {
		engine.answer <- struct{}{}
		if next != "" {
			if got := <-engine.arrived; got != next {
				t.Errorf("%s goes before %s", got, next)
			}
		}
	}
	if rest, err := io.ReadAll(lines); err != nil || !strings.HasSuffix(string(rest), "data: {\"choices\":[]}\n\ndata: [DONE]\n\n") {
		t.Errorf("the stream: %q %v", rest, err)
	}
	for range 3 {
		if a := <-done; a.status != 200 || a.header.Get("X-Modelops-Queue-Position") == "" || a.header.Get("X-Modelops-Queue-Expected-Ms") == "0" {
			t.Errorf("%s %v", a, a.header)
		}
	}
	d.showsNowhere("canary-of")
}

// showsNowhere fails the test where a secret is shown.
func (d *daemon) showsNowhere(secret string) {
	d.t.Helper()
	for where, text := range map[string]string{
		"the log": d.log.String(), "config check": d.cli("config", "check", "--show").String(), "status": d.cli("status", "--json").String(), "the journal": d.cli("journal", "--json").String(),
	} {
		if strings.Contains(text, secret) {
			d.t.Errorf("%s shows a key", where)
		}
	}
}

// TestPinCommands: a pin has an owner and an end, is shown, and goes.
func TestPinCommands(t *testing.T) {
	d := start(t, "models: {declare: {tiny: {path: TINY, aliases: [t], groups: [g]}, other: {path: TINY, groups: [g], pinned: true}}}\n")
	out := d.cli("pin", "t", "--for", "2h", "--owner", "evaluation")
	if out.code != 0 || !strings.Contains(out.out, "tiny is pinned: by evaluation for ") || !strings.Contains(out.String(), "conflict: other is pinned by configuration, and group g") {
		t.Errorf("pin: %s", out)
	}
	if out := d.cli("models"); !strings.Contains(out.out, "by evaluation for 1h59m") && !strings.Contains(out.out, "by evaluation for 2h0m") || !strings.Contains(out.out, "by configuration") {
		t.Errorf("models: %s", out)
	}
	if a := d.get("/v1/models/tiny"); !strings.Contains(string(a.body), `"pinned_by":"evaluation","pinned_until":`) {
		t.Errorf("/v1/models: %s", a)
	}
	if out := d.cli("unpin", "tiny"); out.code != 0 || !strings.Contains(out.out, "tiny isn't pinned") {
		t.Errorf("unpin: %s", out)
	}
	if out := d.cli("pin", "nobody"); out.code != 4 {
		t.Errorf("pin nobody: %s", out)
	}
	if out := d.cli("pin", "tiny", "--for", "1ms"); out.code != 2 {
		t.Errorf("pin for 1ms: %s", out)
	}
}
