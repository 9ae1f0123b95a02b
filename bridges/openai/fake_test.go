package openai

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"modelops/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeGateway grants what its admit says and keeps what was released.
type fakeGateway struct {
	admit func(ctx context.Context, model string) (*messages.Grant, error)
	views []*messages.ModelView
	// upstream and apiKey are what grants name; upstream is "tiny" unless it is set.
	upstream, apiKey string

	mu       sync.Mutex
	asked    int
	outcomes []messages.Outcome
	released chan struct{}
}

func (g *fakeGateway) Admit(ctx context.Context, model string) (*messages.Grant, error) {
	g.mu.Lock()
	g.asked++
	g.mu.Unlock()
	grant, err := g.admit(ctx, model)
	if err != nil {
		return nil, err
	}
	if g.upstream != "" {
		grant.Upstream = g.upstream
	}
	if g.apiKey != "" {
		grant.APIKey = g.apiKey
	}
	var once sync.Once
	grant.Release = func(o messages.Outcome) {
		once.Do(func() {
			g.mu.Lock()
			g.outcomes = append(g.outcomes, o)
			g.mu.Unlock()
			g.released <- struct{}{}
		})
	}
	return grant, nil
}

func (g *fakeGateway) Infer(context.Context, *messages.InferenceRequest, func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
	panic("the pass-through never asks this")
}
func (g *fakeGateway) Models() []*messages.ModelView { return g.views }
func (g *fakeGateway) Health() messages.Health       { return messages.Health{OK: true} }

// failures waits for n releases and lists which were the worker's fault.
func (g *fakeGateway) failures(n int) []bool {
	for range n {
		<-g.released
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []bool
	for _, o := range g.outcomes {
		out = append(out, o.Failed)
	}
	return out
}

// grants always says yes, with these places in turn; the last one stays.
func grants(urls ...string) *fakeGateway {
	next := 0
	var mu sync.Mutex
	return &fakeGateway{released: make(chan struct{}, 100), admit: func(_ context.Context, model string) (*messages.Grant, error) {
		mu.Lock()
		defer mu.Unlock()
		url := urls[min(next, len(urls)-1)]
		next++
		return &messages.Grant{Model: "tiny", Upstream: "tiny", URL: url}, nil
	}}
}

func refuses(err error) *fakeGateway {
	return &fakeGateway{released: make(chan struct{}, 100), admit: func(context.Context, string) (*messages.Grant, error) { return nil, err }}
}

// house is the API before an engine, with a client in front.
type house struct {
	*httptest.Server
	t       *testing.T
	gateway *fakeGateway
	seen    *seen
}

func open(t *testing.T, g *fakeGateway, change ...func(*Options)) *house {
	t.Helper()
	s := &seen{}
	o := Options{Gateway: g, Heartbeat: -1, RetryDelay: time.Millisecond, Observe: s}
	for _, c := range change {
		c(&o)
	}
	api := New(o)
	h := &house{Server: httptest.NewServer(api), t: t, gateway: g, seen: s}
	t.Cleanup(func() { h.Close(); api.Close() })
	return h
}

func engine(t *testing.T, f http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s
}

func (h *house) post(path, body string, header ...string) *http.Response {
	h.t.Helper()
	return h.do(h.t.Context(), "POST", path, body, header...)
}

func (h *house) do(ctx context.Context, method, path, body string, header ...string) *http.Response {
	h.t.Helper()
	resp, err := h.send(ctx, method, path, body, header...)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func (h *house) send(ctx context.Context, method, path, body string, header ...string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, h.URL+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return h.Client().Do(r)
}

func text(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	return string(b)
}

// nowhere is an address at which nothing answers.
func nowhere(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return "http://" + l.Addr().String()
}

// seen keeps what was counted.
type seen struct {
	mu       sync.Mutex
	requests []string
	first    int
	waits    int
	batches  []int
}

func (s *seen) ObserveRequest(model, code, _ string, _ time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, model+" "+code)
}

func (s *seen) ObserveFirstByte(string, time.Duration) { s.mu.Lock(); s.first++; s.mu.Unlock() }
func (s *seen) ObserveQueueWait(string, time.Duration) { s.mu.Lock(); s.waits++; s.mu.Unlock() }
func (s *seen) ObserveBatch(_, _ string, size int) {
	s.mu.Lock()
	s.batches = append(s.batches, size)
	s.mu.Unlock()
}

// counted waits until a request was reported: that happens after the client has its answer.
func (h *house) counted() string {
	h.t.Helper()
	h.Close() // waits for all requests
	h.seen.mu.Lock()
	defer h.seen.mu.Unlock()
	return strings.Join(h.seen.requests, ", ")
}
