package rest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"modelops/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type fakeGateway struct {
	health messages.Health
	views  []*messages.ModelView
}

func (g *fakeGateway) Infer(context.Context, *messages.InferenceRequest, func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
	panic("not asked here")
}
func (g *fakeGateway) Admit(context.Context, string) (*messages.Grant, error) {
	panic("not asked here")
}
func (g *fakeGateway) Models() []*messages.ModelView { return g.views }
func (g *fakeGateway) Health() messages.Health       { return g.health }

type world struct {
	t       *testing.T
	s       *Server
	client  *http.Client
	gateway *fakeGateway
	mu      sync.Mutex
	counted []string
}

func start(t *testing.T, api http.HandlerFunc) *world {
	t.Helper()
	return startWith(t, Options{OpenAI: api, Operations: (&asked{}).operations(), Version: "1.2.3"})
}

func startWith(t *testing.T, o Options) *world {
	t.Helper()
	tr := &http.Transport{}
	w := &world{t: t, gateway: &fakeGateway{health: messages.Health{OK: true}}, client: &http.Client{Transport: tr}}
	o.Gateway = w.gateway
	o.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up 1\n") })
	o.Observe = func(method, route, code string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.counted = append(w.counted, method+" "+route+" "+code)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Start(l)
	w.s = s
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		_ = s.Stop(ctx)
		<-s.Done()
	})
	return w
}

func nothing(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }

func (w *world) do(method, path, host string, header ...string) (int, http.Header, string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, "http://"+w.s.Addr().String()+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Host = host
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := w.client.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(body)
}

func TestPages(t *testing.T) {
	w := start(t, nothing)
	w.gateway.views = []*messages.ModelView{
		{Name: "tiny", Phase: messages.ModelView_ready, Active: 1, MeasuredBytes: 9, Spec: &messages.ModelSpec{Runtime: "embedded"}, Worker: &messages.Worker{Pid: 7, Url: "http://127.0.0.1:1"}},
		{Name: "big", Phase: messages.ModelView_absent},
	}
	for path, want := range map[string]string{
		"/":        `{"service":"ModelOps Coordinator","version":"1.2.3","status":"running","docs_url":"/docs","health_url":"/health"}`,
		"/health":  `{"status":"ok"}`,
		"/metrics": "up 1\n",
		"/running": `{"running":[{"model":"tiny","state":"ready","runtime":"embedded","proxy":"http://127.0.0.1:1","pid":7,"vram_bytes":9,"active":1,"queued":0}]}`,
	} {
		if code, _, body := w.do("GET", path, ""); code != 200 || body != want {
			t.Errorf("%s: %d %s", path, code, body)
		}
		if code, _, body := w.do("HEAD", path, ""); code != 200 || body != "" {
			t.Errorf("HEAD %s: %d %s", path, code, body)
		}
		if code, h, body := w.do("DELETE", path, ""); code != 405 || h.Get("Allow") != "GET, HEAD" || !strings.Contains(body, `"src":"modelops"`) {
			t.Errorf("DELETE %s: %d %s", path, code, body)
		}
	}
}

func TestHealth(t *testing.T) {
	w := start(t, nothing)
	w.gateway.views = []*messages.ModelView{{Phase: messages.ModelView_ready}, {Phase: messages.ModelView_failed}}
	code, _, body := w.do("GET", "/health?verbose", "")
	var got sickness
	if json.Unmarshal([]byte(body), &got) != nil || code != 200 || got.Status != "ok" || got.ModelsReady != 1 || got.ModelsDeclared != 2 || got.WorkerHealthy || !got.KernelHealthy {
		t.Errorf("%d %s", code, body)
	}
	w.gateway.health = messages.Health{OldestUndecided: 90 * time.Second, JournalLag: 5, Reasons: []string{"decisions stall"}}
	code, _, body = w.do("GET", "/health", "")
	got = sickness{}
	if json.Unmarshal([]byte(body), &got) != nil || code != 503 || got.Status != "unhealthy" || got.OldestSeconds != 90 || got.JournalLag != 5 ||
		!slices.Equal(got.Reasons, []string{"decisions stall"}) || got.KernelHealthy || got.Timestamp == "" {
		t.Errorf("%d %s", code, body)
	}
}

// A model of a host that can't be reached isn't ready, and hasn't failed, whatever that host said last.
func TestModelsOfALostHost(t *testing.T) {
	w := startWith(t, Options{Said: func() []*messages.HostSaid { return []*messages.HostSaid{{Host: "pc2", Stale: true}, {Host: "pc3"}} },
		Expected: func() []string { return []string{"pc4"} }})
	w.gateway.views = []*messages.ModelView{{Phase: messages.ModelView_ready}, {Host: "pc2", Phase: messages.ModelView_ready}, {Host: "pc2", Phase: messages.ModelView_failed}, {Host: "pc3", Phase: messages.ModelView_ready}}
	var got sickness
	_, _, body := w.do("GET", "/health?verbose", "")
	if json.Unmarshal([]byte(body), &got) != nil || got.ModelsReady != 2 || got.ModelsDeclared != 4 || !got.WorkerHealthy || !slices.Equal(got.Expected, []string{"pc4"}) {
		t.Errorf("%s", body)
	}
	if _, _, body = w.do("GET", "/running", ""); strings.Count(body, `"state":"unreachable"`) != 1 || strings.Count(body, `"state":"ready"`) != 2 {
		t.Errorf("%s", body)
	}
}

func TestForeignRequestsAreRefused(t *testing.T) {
	w := startWith(t, Options{Operations: (&asked{}).operations(), OpenAI: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "in") }),
		Site: func() Site { return Site{Origins: localOrigins} }})
	for _, c := range []struct {
		method, host string
		header       []string
		in           bool
	}{
		{"POST", "localhost", nil, true},
		{"POST", "LOCALHOST:8008", nil, true},
		{"POST", "127.0.0.1:1", nil, true},
		{"POST", "[::1]:8008", nil, true},
		{"POST", "127.0.0.2", nil, true},
		{"GET", "evil.com", nil, false},
		{"POST", "evil.com:8008", nil, false},
		{"POST", "localhost.evil.com", nil, false},
		{"POST", "127.0.0.1.evil.com", nil, false},
		{"POST", "192.168.0.1", nil, false},
		{"POST", "localhost:x", nil, false},
		{"POST", "localhost", []string{"Origin", "http://localhost:3000"}, true},
		{"POST", "localhost", []string{"Origin", "https://127.0.0.1"}, true},
		{"POST", "localhost", []string{"Origin", "http://[::1]:5"}, true},
		{"POST", "localhost", []string{"Origin", "https://evil.com"}, false},
		{"POST", "localhost", []string{"Origin", "http://localhost.evil.com"}, false},
		{"POST", "localhost", []string{"Origin", "http://localhost@evil.com"}, false},
		{"POST", "localhost", []string{"Origin", "null"}, false},
		{"POST", "localhost", []string{"Origin", "file://localhost"}, false},
		{"POST", "localhost", []string{"Origin", "http://a b"}, false},
		{"DELETE", "localhost", []string{"Origin", "https://evil.com"}, false},
		{"POST", "localhost", []string{"Sec-Fetch-Site", "cross-site"}, false},
		{"POST", "localhost", []string{"Sec-Fetch-Site", "cross-site", "Origin", "http://localhost:3000"}, true},
		{"GET", "localhost", []string{"Origin", "https://evil.com"}, false}, // it would load a model
	} {
		code, _, body := w.do(c.method, "/v1/x", c.host, c.header...)
		if in := code == 200 && body == "in"; in != c.in || !c.in && (code != 403 || !strings.Contains(body, `"code":"permission_denied"`)) {
			t.Errorf("%+v: %d %s", c, code, body)
		}
	}
}

func TestPanicsAndCounting(t *testing.T) {
	w := start(t, func(w http.ResponseWriter, r *http.Request) {
		r.Pattern = ""
		switch r.URL.Path {
		case "/v1/panic":
			r.Pattern = "/v1/panic"
			panic("a mistake")
		case "/v1/late":
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			panic("a mistake")
		case "/v1/abort":
			panic(http.ErrAbortHandler)
		}
		http.NotFound(w, r)
	})
	if code, _, body := w.do("GET", "/v1/panic", ""); code != 500 || !strings.Contains(body, `"code":"internal"`) || strings.Contains(body, "a mistake\"") {
		t.Errorf("%d %s", code, body)
	}
	for _, path := range []string{"/v1/late", "/v1/abort"} {
		resp, err := w.client.Get("http://" + w.s.Addr().String() + path)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
		}
		if err == nil {
			t.Errorf("%s looks whole", path)
		}
	}
	w.do("GET", "/none", "")
	w.do("GET", "/health", "")
	w.do("GET", "/health", "evil.com")
	_ = w.s.Stop(t.Context())
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, want := range []string{"GET /v1/panic 500", "GET  499", "GET  404", "GET /health 200", "GET  403"} {
		if !slices.Contains(w.counted, want) {
			t.Errorf("%q wasn't counted: %q", want, w.counted)
		}
	}
}

func TestStreamsPassTheDoor(t *testing.T) {
	next := make(chan string)
	w := start(t, func(w http.ResponseWriter, _ *http.Request) {
		for s := range next {
			_, _ = io.WriteString(w, s)
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
		}
	})
	go func() { next <- "0\n" }()
	resp, err := w.client.Post("http://"+w.s.Addr().String()+"/v1/x", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	in := bufio.NewReader(resp.Body)
	for i := range 5 {
		if line, err := in.ReadString('\n'); err != nil || line != fmt.Sprintln(i) {
			t.Fatalf("%q %v", line, err)
		}
		if i < 4 {
			next <- fmt.Sprintln(i + 1)
		}
	}
	close(next)
}

// TestStop holds a request while the server stops: with time it is answered, without it is ended.
func TestStop(t *testing.T) {
	for _, patient := range []bool{true, false} {
		entered, leave := make(chan struct{}), make(chan struct{})
		w := start(t, func(w http.ResponseWriter, r *http.Request) {
			close(entered)
			select {
			case <-leave:
				_, _ = io.WriteString(w, "done")
			case <-r.Context().Done():
			}
		})
		answer := make(chan string, 1)
		go func() {
			resp, err := w.client.Get("http://" + w.s.Addr().String() + "/v1/x")
			if err != nil {
				answer <- "cut"
				return
			}
			defer func() { _ = resp.Body.Close() }()
			b, _ := io.ReadAll(resp.Body)
			answer <- string(b)
		}()
		<-entered
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan error, 1)
		go func() { stopped <- w.s.Stop(ctx) }()
		<-w.s.Done() // accepts no more
		if _, err := net.Dial("tcp", w.s.Addr().String()); err == nil {
			t.Error("a stopping server took a connection")
		}
		if patient {
			close(leave)
			if a, err := <-answer, <-stopped; a != "done" || err != nil {
				t.Errorf("%q %v", a, err)
			}
		} else {
			cancel()
			if a, err := <-answer, <-stopped; a != "cut" || messages.CodeOf(err) != messages.DeadlineExceeded {
				t.Errorf("%q %v", a, err)
			}
		}
		if err := w.s.Err(); err != nil {
			t.Error(err)
		}
		cancel()
	}
}
