package openai

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
	"sync/atomic"
	"testing"
	"time"

	"modelops/messages"
)

func errorOf(t *testing.T, body string) errorObject {
	t.Helper()
	var e struct{ Error errorObject }
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		t.Fatalf("not an error object: %v in %s", err, body)
	}
	return e.Error
}

func TestWhatTheEdgeRefuses(t *testing.T) {
	h := open(t, refuses(messages.NewError(messages.Internal, "", "nobody should have asked")), func(o *Options) { o.MaxBody = 1000 })
	long := `{"model":"tiny","prompt":"` + strings.Repeat("x", 2000) + `"}`
	for _, c := range []struct {
		name, method, path, body string
		header                   []string
		status                   int
		param                    string
	}{
		{"no JSON", "POST", chat, `{"model":`, nil, 400, ""},
		{"empty", "POST", chat, ``, nil, 400, ""},
		{"an array", "POST", chat, `["model"]`, nil, 400, ""},
		{"two objects", "POST", chat, `{"model":"tiny"}{}`, nil, 400, ""},
		{"no model", "POST", chat, `{"messages":[]}`, nil, 400, "model"},
		{"empty model", "POST", chat, `{"model":""}`, nil, 400, "model"},
		{"model no string", "POST", chat, `{"model":7}`, nil, 400, "model"},
		{"model null", "POST", chat, `{"model":null}`, nil, 400, "model"},
		{"two models", "POST", chat, `{"model":"a","x":1,"model":"b"}`, nil, 400, "model"},
		{"two models, one in disguise", "POST", chat, `{"model":"a","m\u006fdel":"b"}`, nil, 400, "model"},
		{"two models, one shouting", "POST", chat, `{"model":"a","MODEL":"b"}`, nil, 400, "model"},
		{"max_tokens negative", "POST", chat, `{"model":"a","max_tokens":-1}`, nil, 400, "max_tokens"},
		{"max_tokens no number", "POST", chat, `{"model":"a","max_tokens":"5"}`, nil, 400, "max_tokens"},
		{"max_tokens a fraction", "POST", chat, `{"model":"a","max_tokens":1.5}`, nil, 400, "max_tokens"},
		{"max_tokens twice", "POST", chat, `{"model":"a","max_tokens":1,"max_tokens":-1}`, nil, 400, "max_tokens"},
		{"max_completion_tokens negative", "POST", chat, `{"model":"a","max_completion_tokens":-5}`, nil, 400, "max_completion_tokens"},
		{"n zero", "POST", chat, `{"model":"a","n":0}`, nil, 400, "n"},
		{"temperature negative", "POST", chat, `{"model":"a","temperature":-0.1}`, nil, 400, "temperature"},
		{"temperature high", "POST", chat, `{"model":"a","temperature":2.1}`, nil, 400, "temperature"},
		{"temperature no number", "POST", "/completion", `{"model":"a","temperature":true}`, nil, 400, "temperature"},
		{"stream no boolean", "POST", chat, `{"model":"a","stream":1}`, nil, 400, "stream"},
		{"too large", "POST", chat, long, nil, 413, ""},
		{"no time", "POST", chat, `{"model":"a"}`, []string{"X-Request-Timeout", "soon"}, 400, "X-Request-Timeout"},
		{"no time at all", "POST", chat, `{"model":"a"}`, []string{"X-Request-Timeout", "0"}, 400, "X-Request-Timeout"},
		{"compressed", "POST", chat, `{"model":"a"}`, []string{"Content-Encoding", "gzip"}, 400, "Content-Encoding"},
		{"wrong method", "GET", chat, "", nil, 405, ""},
		{"wrong method on models", "POST", "/v1/models", "{}", nil, 405, ""},
		{"wrong path", "POST", "/v1/nothing", "{}", nil, 404, ""},
		{"a model without a name", "GET", "/v1/models/", "", nil, 404, ""},
	} {
		resp := h.do(t.Context(), c.method, c.path, c.body, c.header...)
		e := errorOf(t, text(t, resp))
		param := ""
		if e.Param != nil {
			param = *e.Param
		}
		if resp.StatusCode != c.status || param != c.param || e.Src != "modelops" || e.Message == "" || e.Type != "invalid_request_error" {
			t.Errorf("%s: %d %+v param %q", c.name, resp.StatusCode, e, param)
		}
		if c.status == 405 && resp.Header.Get("Allow") == "" {
			t.Errorf("%s: no Allow", c.name)
		}
	}
}

func TestOversizeOfUnknownLengthAndHugeOnes(t *testing.T) {
	h := open(t, refuses(nil), func(o *Options) { o.MaxBody = 1000 })
	for _, size := range []int{1001, 8 << 20} {
		for _, known := range []bool{true, false} {
			r, _ := http.NewRequestWithContext(t.Context(), "POST", h.URL+chat, io.LimitReader(strings.NewReader(strings.Repeat(" ", size)), int64(size)))
			if known {
				r.ContentLength = int64(size)
			}
			resp, err := h.Client().Do(r)
			if err != nil {
				t.Fatalf("%d, known %v: %v", size, known, err)
			}
			if e := errorOf(t, text(t, resp)); resp.StatusCode != 413 || e.Code != "payload_too_large" {
				t.Errorf("%d, known %v: %d %+v", size, known, resp.StatusCode, e)
			}
			_ = resp.Body.Close()
		}
	}
}

func TestEveryCodeHasItsAnswer(t *testing.T) {
	for _, code := range messages.Codes() {
		wire := code.Wire()
		err := messages.NewError(code, "model/main_pc/tiny", "it went wrong").WithHint("do this").WithRetry(1200 * time.Millisecond)
		h := open(t, refuses(fmt.Errorf("wrapped: %w", err)))
		resp := h.post(chat, `{"model":"tiny"}`, "X-Request-Id", "r1")
		e := errorOf(t, text(t, resp))
		if resp.StatusCode != wire.HTTP || e.Type != wire.OpenAI || e.Code != strings.ToLower(wire.Name) || e.Src != "modelops" {
			t.Errorf("%s: %d %+v", wire.Name, resp.StatusCode, e)
		}
		if messages.ParseCode(resp.Header.Get("X-Modelops-Code")) != code {
			t.Errorf("%s doesn't come back as itself", wire.Name)
		}
		if e.Message != "model/main_pc/tiny: it went wrong (do this)" || resp.Header.Get("Retry-After") != "2" || resp.Header.Get("Retry-After-Ms") != "1200" {
			t.Errorf("%s: %+v %v", wire.Name, e, resp.Header)
		}
		if (e.Param != nil) != (code == messages.ModelNotFound) || resp.Header.Get("X-Request-Id") != "r1" {
			t.Errorf("%s: param %v, id %q", wire.Name, e.Param, resp.Header.Get("X-Request-Id"))
		}
		if got, want := h.counted(), fmt.Sprintf("tiny %d", wire.HTTP); got != want {
			t.Errorf("%s: counted %q", wire.Name, got)
		}
	}
}

func TestAnthropicClientsFindTheirType(t *testing.T) {
	h := open(t, refuses(messages.NewError(messages.BulkheadRejection, "", "full")))
	resp := h.post("/v1/messages", `{"model":"tiny"}`)
	if body := text(t, resp); !strings.HasPrefix(body, `{"type":"error","error":{`) || resp.Header.Get("Retry-After") != "1" {
		t.Errorf("%s %v", body, resp.Header)
	}
}

func TestAClientThatLeavesEndsTheRequestInEveryState(t *testing.T) {
	entered, ended := make(chan struct{}), make(chan struct{})
	hold := func(ctx context.Context) { entered <- struct{}{}; <-ctx.Done(); close(ended) }
	queued := refuses(nil)
	queued.admit = func(ctx context.Context, _ string) (*messages.Grant, error) {
		hold(ctx)
		return nil, ctx.Err()
	}
	running := engine(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		hold(r.Context())
	})
	streaming := engine(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\n")
		w.(http.Flusher).Flush()
		hold(r.Context())
	})
	for name, g := range map[string]*fakeGateway{"queued": queued, "running": grants(running.URL), "streaming": grants(streaming.URL)} {
		entered, ended = make(chan struct{}), make(chan struct{})
		h := open(t, g)
		ctx, leave := context.WithCancel(t.Context())
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			if resp, err := h.send(ctx, "POST", chat, `{"model":"tiny","stream":true}`); err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		}()
		<-entered
		leave()
		<-ended // hangs if nobody told
		<-gone
		if got := h.counted(); got != "tiny 499" {
			t.Errorf("%s: counted %q", name, got)
		}
		if name != "queued" {
			if f := g.failures(1); f[0] {
				t.Errorf("%s: the worker was blamed", name)
			}
		}
	}
}

func TestDeadlineInQueueAndAtTheEngine(t *testing.T) {
	queued := refuses(nil)
	queued.admit = func(ctx context.Context, _ string) (*messages.Grant, error) { <-ctx.Done(); return nil, ctx.Err() }
	typed := refuses(nil)
	typed.admit = func(ctx context.Context, _ string) (*messages.Grant, error) {
		<-ctx.Done()
		return nil, messages.NewError(messages.Cancelled, "", "the request ended")
	}
	e := engine(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body); <-r.Context().Done() })
	for name, g := range map[string]*fakeGateway{"queued": queued, "typed": typed, "running": grants(e.URL)} {
		resp := open(t, g).post(chat, `{"model":"tiny"}`, "X-Request-Timeout", "30ms")
		if e := errorOf(t, text(t, resp)); resp.StatusCode != 504 || e.Code != "deadline_exceeded" || e.Type != "timeout_error" {
			t.Errorf("%s: %d %+v", name, resp.StatusCode, e)
		}
	}
}

func TestDeadlineInTheMiddleOfAStream(t *testing.T) {
	e := engine(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	g := grants(e.URL)
	resp := open(t, g).post(chat, `{"model":"tiny","stream":true}`, "X-Request-Timeout", "0.1")
	body, err := io.ReadAll(resp.Body)
	if err == nil || !strings.HasPrefix(string(body), "data: 1\n\ndata: {") || !strings.Contains(string(body), "deadline_exceeded") {
		t.Errorf("%v %q", err, body)
	}
	if f := g.failures(1); f[0] {
		t.Error("the worker was blamed for the caller's deadline")
	}
}

func TestNoConnectionMeansAnotherTry(t *testing.T) {
	e := engine(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	for _, c := range []struct {
		dead   int
		status int
	}{{0, 200}, {1, 200}, {2, 200}, {3, 503}} {
		urls := []string{}
		for range c.dead {
			urls = append(urls, nowhere(t))
		}
		g := grants(append(urls, e.URL)...)
		resp := open(t, g).post(chat, `{"model":"tiny"}`)
		body := text(t, resp)
		tries := min(c.dead+1, 3)
		want := slices.Repeat([]bool{true}, tries)
		if c.status == 200 {
			want[tries-1] = false
			if body != `{"model":"tiny"}` {
				t.Errorf("%d dead: the body came as %s", c.dead, body)
			}
		} else if errorOf(t, body).Code != "unavailable" || resp.Header.Get("Retry-After") != "1" {
			t.Errorf("%d dead: %s %v", c.dead, body, resp.Header)
		}
		if got := g.failures(tries); resp.StatusCode != c.status || !slices.Equal(got, want) || g.asked != tries {
			t.Errorf("%d dead: %d, failures %v, asked %d", c.dead, resp.StatusCode, got, g.asked)
		}
	}
}

// rawEngine answers each connection's n-th request (from 0) with what say gives, and closes after an empty one.
func rawEngine(t *testing.T, say func(conn, request int) string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for conn := 0; ; conn++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			in := bufio.NewReader(c)
			for i := 0; ; i++ {
				r, err := http.ReadRequest(in)
				if err != nil {
					break
				}
				_, _ = io.Copy(io.Discard, r.Body)
				answer := say(conn, i)
				_, _ = io.WriteString(c, answer)
				if !strings.HasSuffix(answer, "whole") {
					break
				}
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return "http://" + l.Addr().String()
}

const wholeAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole"

func TestAKeptConnectionThatEndedIsNotTheRequestsFault(t *testing.T) {
	url := rawEngine(t, func(conn, request int) string {
		if conn == 0 && request == 1 {
			return ""
		}
		return wholeAnswer
	})
	g := grants(url)
	h := open(t, g)
	for range 2 {
		if body := text(t, h.post(chat, `{"model":"tiny"}`)); body != "whole" {
			t.Fatalf("%q", body)
		}
	}
	if f := g.failures(3); !slices.Equal(f, []bool{false, true, false}) {
		t.Errorf("failures %v", f)
	}
}

func TestARequestThatKillsItsWorkerIsNotSentAgain(t *testing.T) {
	var conns atomic.Int32
	url := rawEngine(t, func(int, int) string { conns.Add(1); return "" })
	g := grants(url)
	resp := open(t, g).post(chat, `{"model":"tiny"}`, "Idempotency-Key", "k")
	if e := errorOf(t, text(t, resp)); resp.StatusCode != 502 || e.Code != "inference_error" {
		t.Errorf("%d %+v", resp.StatusCode, e)
	}
	if f := g.failures(1); !f[0] || conns.Load() != 1 {
		t.Errorf("failures %v, sent %d times", f, conns.Load())
	}
}

func TestHalfAnAnswerDoesNotLookWhole(t *testing.T) {
	for name, answer := range map[string]string{
		"length": "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf",
		"chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
		"events": "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\nb\r\ndata: hal\n\n\r\n",
		"within": "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: hal\r\n",
	} {
		g := grants(rawEngine(t, func(int, int) string { return answer }))
		h := open(t, g)
		resp := h.post(chat, `{"model":"tiny","stream":true}`)
		body, err := io.ReadAll(resp.Body)
		if err == nil || !strings.Contains(string(body), "hal") {
			t.Errorf("%s: %v %q", name, err, body)
		}
		if told := strings.Contains(string(body), "inference_error"); told != (name == "events") {
			t.Errorf("%s: %q", name, body)
		}
		if f := g.failures(1); !f[0] || g.asked != 1 {
			t.Errorf("%s: failures %v, asked %d", name, f, g.asked)
		}
		if c := h.counted(); c != "tiny 502" {
			t.Errorf("%s: counted %s", name, c)
		}
	}
}

func TestAClientThatTakesNothingLosesItsPlace(t *testing.T) {
	e := engine(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		piece := make([]byte, 64<<10)
		for r.Context().Err() == nil {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	})
	g := grants(e.URL)
	h := open(t, g)
	h.Config.Handler.(*API).stall = 50 * time.Millisecond
	conn, err := net.Dial("tcp", h.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "POST "+chat+" HTTP/1.1\r\nHost: x\r\nContent-Length: 16\r\n\r\n"+`{"model":"tiny"}`)
	if f := g.failures(1); f[0] { // hangs if the place is never given back
		t.Error("the worker was blamed")
	}
	if c := h.counted(); c != "tiny 499" {
		t.Errorf("counted %s", c)
	}
}

func TestTheEnginesOwnErrorsPass(t *testing.T) {
	for status, blamed := range map[int]bool{400: false, 404: false, 429: false, 500: true, 501: false, 503: true} {
		e := engine(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "9")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, `{"error":"mine"}`)
		})
		g := grants(e.URL)
		resp := open(t, g).post(chat, `{"model":"tiny"}`)
		if body := text(t, resp); resp.StatusCode != status || body != `{"error":"mine"}` || resp.Header.Get("X-Modelops-Source") != "engine" || resp.Header.Get("Retry-After") != "9" {
			t.Errorf("%d: %d %s %v", status, resp.StatusCode, body, resp.Header)
		}
		if f := g.failures(1); f[0] != blamed || g.asked != 1 {
			t.Errorf("%d: failures %v, asked %d", status, f, g.asked)
		}
	}
}

// waiting opens a stream whose grant comes only when the test says so, and reads two heartbeats.
func waiting(t *testing.T, path, url string, err error) (g *fakeGateway, in *bufio.Reader) {
	t.Helper()
	proceed := make(chan struct{})
	g = grants(url)
	g.admit = func(context.Context, string) (*messages.Grant, error) {
		<-proceed
		return &messages.Grant{Model: "tiny", URL: url}, err
	}
	h := open(t, g, func(o *Options) { o.Heartbeat = 5 * time.Millisecond })
	resp := h.post(path, `{"model":"tiny","stream":true}`)
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	in = bufio.NewReader(resp.Body)
	for range 2 {
		if line, err := in.ReadString('\n'); err != nil || line != ": loading\n" {
			t.Fatalf("%q %v", line, err)
		}
		_, _ = in.ReadString('\n')
	}
	close(proceed)
	return g, in
}

func TestHeartbeatsThenTheAnswer(t *testing.T) {
	sse := engine(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		_, _ = io.WriteString(w, "data: 1\n\ndata: [DONE]\n\n")
	})
	broken := engine(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(500)
		_, _ = io.WriteString(w, "{\n \"error\": {\"message\":\"mine\"}}")
	})
	silent := engine(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	full := messages.NewError(messages.BulkheadRejection, "", "full")
	for _, c := range []struct {
		name, path, url string
		err             error
		want            string
	}{
		{"answer", chat, sse.URL, nil, "data: 1\n\ndata: [DONE]\n\n"},
		{"engine's error", chat, broken.URL, nil, "data: {\"error\":{\"message\":\"mine\"}}\n\n"},
		{"engine's error without a body", chat, silent.URL, nil, "data: {\"error\":{\"message\":\"tiny: the engine answered 500 without a stream\",\"type\":\"server_error\",\"param\":null,\"code\":\"inference_error\",\"src\":\"modelops\"}}\n\n"},
		{"ours", chat, "", full, "data: {\"error\":{\"message\":\"full\",\"type\":\"rate_limit_error\",\"param\":null,\"code\":\"bulkhead_rejection\",\"src\":\"modelops\"}}\n\n"},
		{"ours, for Anthropic's clients", "/v1/messages", "", full, "event: error\ndata: {\"type\":\"error\",\"error\":{\"message\":\"full\",\"type\":\"rate_limit_error\",\"param\":null,\"code\":\"bulkhead_rejection\",\"src\":\"modelops\"}}\n\n"},
	} {
		_, in := waiting(t, c.path, c.url, c.err)
		rest, err := io.ReadAll(in)
		if got := strings.ReplaceAll(string(rest), ": loading\n\n", ""); err != nil || got != c.want {
			t.Errorf("%s: %v %q", c.name, err, got)
		}
	}
}

func TestNoHeartbeatForThoseWhoDoNotStream(t *testing.T) {
	g := refuses(nil)
	g.admit = func(ctx context.Context, _ string) (*messages.Grant, error) { <-ctx.Done(); return nil, ctx.Err() }
	h := open(t, g, func(o *Options) { o.Heartbeat = time.Millisecond })
	if resp := h.post(chat, `{"model":"tiny"}`, "X-Request-Timeout", "40ms"); resp.StatusCode != 504 {
		t.Errorf("%d", resp.StatusCode)
	}
}

func TestConnectionsOfGoneWorkersAreDropped(t *testing.T) {
	live := map[string]bool{"http://127.0.0.1:1": true}
	ws := newWorkers(func() map[string]bool { return live })
	first, _ := ws.at("http://127.0.0.1:1")
	busy, _ := ws.at("http://127.0.0.1:2")
	busy.inFlight.Add(1)
	if again, _ := ws.at("http://127.0.0.1:1"); again != first {
		t.Error("a worker that lives was dropped")
	}
	clear(live)
	_, _ = ws.at("http://127.0.0.1:3")
	if len(ws.byURL) != 2 || ws.byURL["http://127.0.0.1:2"] != busy {
		t.Errorf("left: %v", ws.byURL)
	}
	ws.forget("http://127.0.0.1:2")
	ws.close()
	if len(ws.byURL) != 0 {
		t.Errorf("left: %v", ws.byURL)
	}
	if _, err := ws.at("http://[::1"); err == nil {
		t.Error("an address that is none was taken")
	}
}
