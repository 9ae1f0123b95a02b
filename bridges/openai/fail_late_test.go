package openai

import (
	"bufio"
	"context"
	"errors"
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

// A request on a kept connection that ends is sent again when its worker proves that it lives, and is its fault when not.
func TestAKeptConnectionThatEnded(t *testing.T) {
	url := func() string {
		return rawEngine(t, func(conn, request int) string {
			if conn == 0 && request == 1 {
				return ""
			}
			return wholeAnswer
		})
	}
	for name, c := range map[string]struct {
		alive    error
		failures []bool
		last     int
	}{
		"lives": {nil, []bool{false, false, false}, 200},
		"died":  {errors.New("gone"), []bool{false, true}, 502},
	} {
		url := url()
		g := grants(url)
		admit := g.admit
		var asked []time.Time
		g.admit = func(ctx context.Context, model string) (*messages.Grant, error) {
			asked = append(asked, messages.CallerFrom(ctx).Asked)
			grant, err := admit(ctx, model)
			grant.Alive = func(context.Context, *messages.Grant) error { return c.alive }
			return grant, err
		}
		h := open(t, g)
		if body := text(t, h.post(chat, `{"model":"tiny"}`)); body != "whole" {
			t.Fatalf("%s: %q", name, body)
		}
		if resp := h.post(chat, `{"model":"tiny"}`); resp.StatusCode != c.last {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
		if f := g.failures(len(c.failures)); !slices.Equal(f, c.failures) {
			t.Errorf("%s: failures %v", name, f)
		}
		// All waits of one request end a queue timeout after it asked first.
		if asked[0].IsZero() || asked[1].IsZero() || len(asked) > 2 && !asked[2].Equal(asked[1]) {
			t.Errorf("%s: asked for a place at %v", name, asked)
		}
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

// Three replicas with warm connections: a request that ends its worker reaches one of them, on whatever connection and with whatever headers.
func TestOneRequestEndsAtMostOneWorker(t *testing.T) {
	var killed atomic.Int32
	var urls []string
	for range 3 {
		urls = append(urls, rawEngine(t, func(_, request int) string {
			if request == 0 {
				return wholeAnswer
			}
			killed.Add(1)
			return ""
		}))
	}
	g := grants(append(urls, urls...)...)
	admit := g.admit
	g.admit = func(ctx context.Context, model string) (*messages.Grant, error) {
		grant, err := admit(ctx, model)
		grant.Alive = func(context.Context, *messages.Grant) error { return errors.New("gone") }
		return grant, err
	}
	h := open(t, g)
	for range urls {
		if body := text(t, h.post(chat, `{"model":"tiny"}`)); body != "whole" {
			t.Fatalf("%q", body)
		}
	}
	if resp := h.post(chat, `{"model":"tiny"}`, "Idempotency-Key", "k"); resp.StatusCode != 502 || killed.Load() != 1 {
		t.Errorf("%d, %d workers got it", resp.StatusCode, killed.Load())
	}
}

func TestHalfAnAnswerDoesNotLookWhole(t *testing.T) {
	for name, answer := range map[string]string{
		"length": "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf",
		"chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
		"events": "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\nb\r\ndata: hal\n\n\r\n",
		"pieces": "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\na\r\ndata: hal\n\r\n1\r\n\n\r\n",
		"within": "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: hal\r\n",
	} {
		g := grants(rawEngine(t, func(int, int) string { return answer }))
		h := open(t, g)
		resp := h.post(chat, `{"model":"tiny","stream":true}`)
		body, err := io.ReadAll(resp.Body)
		if err == nil || !strings.Contains(string(body), "hal") {
			t.Errorf("%s: %v %q", name, err, body)
		}
		if told := strings.Contains(string(body), "inference_error"); told != (name == "events" || name == "pieces") {
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
		if g.outcomes[0].Err == nil {
			t.Errorf("%d: a refused input counts as an answer", status)
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
		{"engine's error", chat, broken.URL, nil, "data: {\"error\":{\"message\":\"mine\"}}\n\ndata: [DONE]\n\n"},
		{"engine's error without a body", chat, silent.URL, nil, "data: {\"error\":{\"message\":\"tiny: the engine answered 500 without a stream\",\"type\":\"server_error\",\"param\":null,\"code\":\"inference_error\",\"src\":\"modelops\"}}\n\ndata: [DONE]\n\n"},
		{"ours", chat, "", full, "data: {\"error\":{\"message\":\"full\",\"type\":\"rate_limit_error\",\"param\":null,\"code\":\"bulkhead_rejection\",\"src\":\"modelops\"}}\n\ndata: [DONE]\n\n"},
		{"ours, for Anthropic's clients", "/v1/messages", "", full, "event: error\ndata: {\"type\":\"error\",\"error\":{\"message\":\"full\",\"type\":\"rate_limit_error\",\"param\":null,\"code\":\"bulkhead_rejection\",\"src\":\"modelops\"}}\n\n"},
	} {
		_, in := waiting(t, c.path, c.url, c.err)
		rest, err := io.ReadAll(in)
		if got := strings.ReplaceAll(string(rest), ": loading\n\n", ""); err != nil || got != c.want {
			t.Errorf("%s: %v %q", c.name, err, got)
		}
	}
}

func TestNoHeartbeatWithoutStreaming(t *testing.T) {
	g := refuses(nil)
	g.admit = func(ctx context.Context, _ string) (*messages.Grant, error) { <-ctx.Done(); return nil, ctx.Err() }
	h := open(t, g, func(o *Options) { o.Heartbeat = time.Millisecond })
	if resp := h.post(chat, `{"model":"tiny"}`, "X-Request-Timeout", "40ms"); resp.StatusCode != 504 {
		t.Errorf("%d", resp.StatusCode)
	}
}

// A worker's connections go when it has ended and no request uses them, whether or not another worker comes.
func TestConnectionsOfGoneWorkersAreDropped(t *testing.T) {
	live := map[string]bool{"http://127.0.0.1:1": true}
	ws := newWorkers(func() map[string]bool { return live })
	defer ws.close()
	first, _ := ws.at("http://127.0.0.1:1")
	first.leave()
	busy, _ := ws.at("http://127.0.0.1:2")
	ws.sweep()
	if again, _ := ws.at("http://127.0.0.1:1"); again != first {
		t.Error("a worker that lives was dropped")
	}
	first.leave()
	clear(live)
	ws.sweep()
	if len(ws.byURL) != 1 || ws.byURL["http://127.0.0.1:2"] != busy {
		t.Errorf("left: %v", ws.byURL)
	}
	busy.leave()
	ws.sweep()
	if len(ws.byURL) != 0 || ws.drop != nil {
		t.Errorf("left: %v, timer %v", ws.byURL, ws.drop)
	}
	if _, err := ws.at("http://[::1"); err == nil {
		t.Error("an address that is none was taken")
	}
}
