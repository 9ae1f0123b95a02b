package openai

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
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
	h := open(t, refuses(messages.NewError(messages.Internal, "", "no place should be asked for")), func(o *Options) { o.MaxBody = 1000 })
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
		{"max_tokens no number", "POST", chat, `{"model":"a","max_tokens":"5"}`, nil, 400, "max_tokens"},
		{"max_tokens a fraction", "POST", chat, `{"model":"a","max_tokens":1.5}`, nil, 400, "max_tokens"},
		{"max_tokens twice", "POST", chat, `{"model":"a","max_tokens":1,"max_tokens":-1}`, nil, 400, "max_tokens"},
		{"temperature no number", "POST", "/completion", `{"model":"a","temperature":true}`, nil, 400, "temperature"},
		{"stream no boolean", "POST", chat, `{"model":"a","stream":1}`, nil, 400, "stream"},
		{"too large", "POST", chat, long, nil, 413, ""},
		{"no time", "POST", chat, `{"model":"a"}`, []string{"X-Request-Timeout", "soon"}, 400, "X-Request-Timeout"},
		{"no time at all", "POST", chat, `{"model":"a"}`, []string{"X-Request-Timeout", "0"}, 400, "X-Request-Timeout"},
		{"not compressed as it says", "POST", chat, `{"model":"a"}`, []string{"Content-Encoding", "gzip"}, 400, "Content-Encoding"},
		{"compressed in another way", "POST", chat, `{"model":"a"}`, []string{"Content-Encoding", "zstd"}, 400, "Content-Encoding"},
		{"another model in the address", "POST", chat + "?model=b", `{"model":"a"}`, nil, 400, "model"},
		{"a form without a boundary", "POST", "/v1/audio/transcriptions", "x", []string{"Content-Type", "multipart/form-data"}, 400, "Content-Type"},
		{"a form without an end", "POST", "/v1/audio/transcriptions", "--b\r\n\r\nx", []string{"Content-Type", "multipart/form-data; boundary=b"}, 400, ""},
		{"a form of something else", "POST", "/v1/audio/transcriptions", "x", []string{"Content-Type", "multipart/form-data; boundary=b"}, 400, ""},
		{"a form without a model", "POST", "/v1/audio/transcriptions", "--b\r\nContent-Disposition: form-data; name=x\r\n\r\n1\r\n--b--", []string{"Content-Type", "multipart/form-data; boundary=b"}, 400, "model"},
		{"a form of two models", "POST", "/v1/audio/transcriptions", "--b\r\nContent-Disposition: form-data; name=model\r\n\r\n1\r\n--b\r\nContent-Disposition: form-data; name=model\r\n\r\n2\r\n--b--", []string{"Content-Type", "multipart/form-data; boundary=b"}, 400, "model"},
		{"a query without a model", "GET", "/props", "", nil, 400, "model"},
		{"upstream of nobody", "GET", "/upstream/", "", nil, 404, ""},
		{"wrong method", "GET", chat, "", nil, 405, ""},
		{"wrong method on models", "POST", "/v1/models", "{}", nil, 405, ""},
		{"wrong path", "POST", "/v1/nothing", "{}", nil, 404, ""},
		{"Ollama's path", "GET", "/api/tags/", "", nil, 404, ""},
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
		if code := resp.Header.Get("X-Modelops-Code"); code == "" || c.status == 404 && !strings.HasSuffix(code, "NOT_FOUND") {
			t.Errorf("%s: X-Modelops-Code %q", c.name, code)
		}
		if c.name == "Ollama's path" && !strings.HasSuffix(e.Message, "GET /v1/models lists the models") {
			t.Errorf("%s: %+v", c.name, e)
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
		<-ended // hangs if the engine is not told
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
	var g *fakeGateway
	var body []byte
	var err error
	// On a busy machine the deadline may pass before the engine begins: then it is too short for this test.
	for deadline := 100 * time.Millisecond; !strings.HasPrefix(string(body), "data: 1") && deadline < hangLimit; deadline *= 2 {
		g = grants(e.URL)
		body, err = io.ReadAll(open(t, g).post(chat, `{"model":"tiny","stream":true}`, "X-Request-Timeout", deadline.String()).Body)
	}
	if err == nil || !strings.HasPrefix(string(body), "data: 1\n\ndata: {") || !strings.Contains(string(body), "deadline_exceeded") {
		t.Errorf("%v %q", err, body)
	}
	if f := g.failures(1); f[0] {
		t.Error("the worker was blamed for the caller's deadline")
	}
}
