package openai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"modelops/messages"
)

// oven is an engine for lists: it answers a text with its length, and holds each request until it is let go.
type oven struct {
	mu     sync.Mutex
	bodies []string
	heads  []http.Header
	came   chan string   // each body as it arrives
	gate   chan struct{} // one token lets one request go; nil = all
	answer func(w http.ResponseWriter, inputs []string) bool
	left   chan struct{} // a request whose caller went away
}

func newOven(gated bool) *oven {
	o := &oven{came: make(chan string, 200), left: make(chan struct{}, 200)}
	if gated {
		o.gate = make(chan struct{}, 200)
	}
	return o
}

func (o *oven) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(r.Body)
	o.mu.Lock()
	o.bodies, o.heads = append(o.bodies, string(raw)), append(o.heads, r.Header)
	o.mu.Unlock()
	o.came <- string(raw)
	if o.gate != nil {
		select {
		case <-o.gate:
		case <-r.Context().Done():
			o.left <- struct{}{}
			return
		}
	}
	var q struct{ Input any }
	if err := json.Unmarshal(raw, &q); err != nil {
		http.Error(w, err.Error(), 400)
		return
	}
	var inputs []string
	switch in := q.Input.(type) {
	case string:
		inputs = []string{in}
	case []any:
		for _, v := range in {
			inputs = append(inputs, fmt.Sprint(v))
		}
	}
	if o.answer != nil && o.answer(w, inputs) {
		return
	}
	if i := slices.Index(inputs, "bad"); i >= 0 {
		w.WriteHeader(400)
		_, _ = io.WriteString(w, `{"error":"bad input"}`)
		return
	}
	var data []string
	for i, in := range inputs {
		data = append(data, fmt.Sprintf(`{"embedding":[%d.0],"for":%q,"index":%d}`, len(in), in, i))
	}
	slices.Reverse(data)
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"object":"list","data":[%s]}`, strings.Join(data, ","))
}

// hangLimit ends a test that hangs. What works doesn't wait for it, however busy the machine is.
const hangLimit = 5 * time.Minute

func (o *oven) waitFor(t *testing.T, n int) (bodies []string) {
	t.Helper()
	for range n {
		select {
		case b := <-o.came:
			bodies = append(bodies, b)
		case <-time.After(hangLimit):
			t.Fatalf("%d of %d requests came", len(bodies), n)
		}
	}
	return bodies
}

func batching(window time.Duration, most int) func(*Options) {
	return func(o *Options) {
		o.Batching = func(string) Batching { return Batching{Window: window, MaxSize: most, Completions: true} }
	}
}

// caller is a request under way, and later its answer.
type caller struct {
	status int
	body   string
	header http.Header
	err    error
	done   chan struct{}
	leave  context.CancelFunc
}

func (h *house) call(path, body string, header ...string) *caller {
	ctx, cancel := context.WithCancel(h.t.Context())
	c := &caller{done: make(chan struct{}), leave: cancel}
	go func() {
		defer close(c.done)
		resp, err := h.send(ctx, "POST", path, body, header...)
		if err != nil {
			c.err = err
			return
		}
		defer func() { _ = resp.Body.Close() }()
		raw, err := io.ReadAll(resp.Body)
		c.status, c.body, c.header, c.err = resp.StatusCode, string(raw), resp.Header, err
	}()
	return c
}

func (h *house) embed(input string, header ...string) *caller {
	return h.call("/v1/embeddings", `{"model":"tiny","input":`+input+`}`, header...)
}

// waiting waits until so many members wait for company.
func (h *house) waiting(api *API, n int) {
	h.t.Helper()
	if !h.waitingOr(api, n, nil) {
		h.t.Fatalf("there are never %d waiting members", n)
	}
}

// waitingOr is waiting that gives up, with false, when over is closed.
func (h *house) waitingOr(api *API, n int, over <-chan struct{}) bool {
	tick, end := time.NewTicker(time.Millisecond), time.After(hangLimit)
	defer tick.Stop()
	for {
		api.batches.mu.Lock()
		sum := 0
		for _, l := range api.batches.byKey {
			sum += len(l.waiting)
		}
		api.batches.mu.Unlock()
		if sum == n {
			return true
		}
		select {
		case <-over:
			return false
		case <-end:
			return false
		case <-tick.C:
		}
	}
}

func (c *caller) is(t *testing.T, status int, body string) {
	t.Helper()
	<-c.done
	if c.status != status || c.body != body {
		t.Errorf("%d %s (%v), want %d %s", c.status, c.body, c.err, status, body)
	}
}

func row(text string, index int) string {
	return fmt.Sprintf(`{"embedding":[%d.0],"for":%q,"index":%d}`, len(text), text, index)
}

func rows(rows ...string) string {
	return `{"object":"list","data":[` + strings.Join(rows, ",") + `]}`
}

// crowded opens an API whose engine is busy with one request, "first"; the next ones wait for each other.
func crowded(t *testing.T, most int, change ...func(*Options)) (*house, *API, *oven, *caller) {
	t.Helper()
	o := newOven(true)
	e := engine(t, o.ServeHTTP)
	h := open(t, grants(e.URL), append(change, batching(time.Hour, most))...)
	api := h.Config.Handler.(*API)
	first := h.embed(`"first"`)
	o.waitFor(t, 1)
	return h, api, o, first
}

func TestWaitingRequestsShareOneUpstreamRequest(t *testing.T) {
	h, api, o, first := crowded(t, 4)
	a := h.embed(`"a"`, "X-Request-Id", "id-a", "Traceparent", "00-1")
	h.waiting(api, 1)
	b := h.embed(`["bb","ccc"]`, "X-Request-Id", "id-b", "User-Agent", "other")
	h.waiting(api, 2)
	d := h.embed(`["dddd"]`) // fills it
	together := o.waitFor(t, 1)[0]
	if want := `{"model":"tiny","input":["a","bb","ccc","dddd"]}`; together != want {
		t.Errorf("the engine saw %s", together)
	}
	o.gate <- struct{}{}
	o.gate <- struct{}{}
	first.is(t, 200, rows(row("first", 0)))
	a.is(t, 200, rows(row("a", 0)))
	b.is(t, 200, rows(row("ccc", 1), row("bb", 0)))
	d.is(t, 200, rows(row("dddd", 0)))
	if a.header.Get("X-Request-Id") != "id-a" || b.header.Get("X-Request-Id") != "id-b" || b.header.Get("X-Modelops-Batch") != "3" || b.header.Get("X-Modelops-Queue-Position") != "0" || b.header.Get("X-Modelops-Source") != "engine" {
		t.Errorf("headers %v", b.header)
	}
	if head := o.heads[1]; head.Get("X-Request-Id") != "id-a" || head.Get("Traceparent") != "" || head.Get("Accept-Encoding") != "" {
		t.Errorf("the engine saw %v", head)
	}
	if got := h.counted(); strings.Count(got, "tiny 200") != 4 || h.seen.first != 4 || h.gateway.asked != 2 {
		t.Errorf("counted %s, %d first bytes, %d places", got, h.seen.first, h.gateway.asked)
	}
	slices.Sort(h.seen.batches)
	if !slices.Equal(h.seen.batches, []int{1, 3}) {
		t.Errorf("batches of %v", h.seen.batches)
	}
}

func TestALoneRequestPassesUntouched(t *testing.T) {
	o := newOven(false)
	h := open(t, grants(engine(t, o.ServeHTTP).URL), batching(time.Hour, 8))
	for range 3 {
		body := `{ "model" : "tiny", "input":"x" ,"x":1.0}`
		h.call("/v1/embeddings", body).is(t, 200, rows(row("x", 0)))
		if got := o.waitFor(t, 1)[0]; got != body {
			t.Errorf("the engine saw %s", got)
		}
	}
}

func TestABadMemberFailsAlone(t *testing.T) {
	h, api, o, first := crowded(t, 3)
	a := h.embed(`"a"`)
	h.waiting(api, 1)
	bad := h.embed(`"bad"`)
	h.waiting(api, 2)
	b := h.embed(`"bb"`)
	o.waitFor(t, 1)
	for range 5 { // the first, the batch, each alone
		o.gate <- struct{}{}
	}
	a.is(t, 200, rows(row("a", 0)))
	b.is(t, 200, rows(row("bb", 0)))
	bad.is(t, 400, `{"error":"bad input"}`)
	first.is(t, 200, rows(row("first", 0)))
	if got := h.gateway.failures(5); slices.Contains(got, true) {
		t.Errorf("the worker is blamed: %v", got)
	}
	if len(api.batches.byKey) != 0 {
		t.Error("something stays under way")
	}
}

// A batch whose worker ended after its answer isn't sent again in parts: one of its members may have ended it, and would end the next one.
func TestABatchThatEndedItsWorkerIsNotSentAgain(t *testing.T) {
	for status, answer := range map[int]string{500: `{"error":"out of memory"}`, 400: `{"error":"bad input"}`, 200: `{"data":[]}`} {
		h, _, o, first := crowded(t, 2)
		admit := h.gateway.admit
		h.gateway.admit = func(ctx context.Context, model string) (*messages.Grant, error) {
			grant, err := admit(ctx, model)
			grant.Alive = func(context.Context, *messages.Grant) error { return errors.New("gone") }
			return grant, err
		}
		o.answer = func(w http.ResponseWriter, inputs []string) bool {
			if len(inputs) == 2 {
				w.WriteHeader(status)
				_, _ = io.WriteString(w, answer)
			}
			return len(inputs) == 2
		}
		a, b := h.embed(`"a"`), h.embed(`"bb"`)
		o.waitFor(t, 1)
		close(o.gate)
		for _, r := range []*caller{a, b} {
			if <-r.done; r.status != 502 || !strings.Contains(r.body, "inference_error") {
				t.Errorf("%d: %d %s", status, r.status, r.body)
			}
		}
		<-first.done
		if h.gateway.asked != 2 {
			t.Errorf("%d: %d places were asked for", status, h.gateway.asked)
		}
	}
}

func TestAnAnswerOfTheWrongCountIsAskedForAgain(t *testing.T) {
	h, _, o, first := crowded(t, 2)
	o.answer = func(w http.ResponseWriter, inputs []string) bool {
		if len(inputs) == 2 {
			_, _ = io.WriteString(w, `{"data":[{"index":0}]}`)
		}
		return len(inputs) == 2
	}
	a, b := h.embed(`"a"`), h.embed(`"bb"`)
	o.waitFor(t, 1)
	for range 4 {
		o.gate <- struct{}{}
	}
	a.is(t, 200, rows(row("a", 0)))
	b.is(t, 200, rows(row("bb", 0)))
	<-first.done
}

func TestARefusalOfTheBatchReachesEveryMember(t *testing.T) {
	for status, body := range map[int]string{503: `{"error":"busy"}`, 429: `{"error":"slow down"}`, 501: `{"error":"no embeddings"}`, 401: `{"error":"who?"}`} {
		h, _, o, first := crowded(t, 2)
		o.answer = func(w http.ResponseWriter, inputs []string) bool {
			if len(inputs) == 2 {
				w.WriteHeader(status)
				_, _ = io.WriteString(w, body)
			}
			return len(inputs) == 2
		}
		a, b := h.embed(`"a"`), h.embed(`"bb"`)
		o.waitFor(t, 1)
		o.gate <- struct{}{}
		o.gate <- struct{}{}
		a.is(t, status, body)
		b.is(t, status, body)
		<-first.done
		if h.gateway.asked != 2 {
			t.Errorf("%d: %d places were asked for", status, h.gateway.asked)
		}
	}
}

func TestARefusalOfTheGatewayReachesEveryMember(t *testing.T) {
	h, _, o, first := crowded(t, 2)
	h.gateway.mu.Lock()
	h.gateway.admit = func(context.Context, string) (*messages.Grant, error) {
		return nil, messages.NewError(messages.BulkheadRejection, "tiny", "too many wait").WithRetry(3 * time.Second)
	}
	h.gateway.mu.Unlock()
	a, b := h.embed(`"a"`), h.embed(`"bb"`)
	for _, c := range []*caller{a, b} {
		<-c.done
		if c.status != 429 || c.header.Get("Retry-After") != "3" || !strings.Contains(c.body, "too many wait") {
			t.Errorf("%d %v %s", c.status, c.header, c.body)
		}
	}
	o.gate <- struct{}{}
	<-first.done
}

func TestABrokenConnectionReachesEveryMember(t *testing.T) {
	h, _, o, first := crowded(t, 2)
	o.answer = func(w http.ResponseWriter, inputs []string) bool {
		if len(inputs) == 2 {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"data":`)
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		return false
	}
	a, b := h.embed(`"a"`), h.embed(`"bb"`)
	o.waitFor(t, 1)
	o.gate <- struct{}{}
	o.gate <- struct{}{}
	for _, c := range []*caller{a, b} {
		<-c.done
		if c.status < 500 || !strings.Contains(c.body, "broke off") {
			t.Errorf("%d %s", c.status, c.body)
		}
	}
	<-first.done
}
