package openai

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

const chat = "/v1/chat/completions"

func TestEveryRouteReachesTheEngineUnchanged(t *testing.T) {
	odd := `{ "x":1.50e+1,  "model" : "tiny","ünknown":[{"model":"inner"}], "big":123456789012345678901234567890 }` + "\n"
	for path, rt := range passThrough {
		if !rt.takes("POST") {
			continue
		}
		var got, at string
		e := engine(t, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			got, at = string(b), r.URL.RequestURI()
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"strange":  1}`)
		})
		h := open(t, grants(e.URL))
		resp := h.post(path+"?a=b", odd, "Content-Type", "text/plain")
		if body := text(t, resp); resp.StatusCode != 200 || body != `{"strange":  1}` {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
		if got != odd || at != path+"?a=b" {
			t.Errorf("%s: the engine saw %s %q", path, at, got)
		}
		if resp.ContentLength != 15 || resp.Header.Get("X-Modelops-Source") != "engine" {
			t.Errorf("%s: length %d, headers %v", path, resp.ContentLength, resp.Header)
		}
		if c := h.counted(); c != "tiny 200" || h.seen.first != 1 || h.seen.waits != 1 {
			t.Errorf("%s: counted %q, first %d, waits %d", path, c, h.seen.first, h.seen.waits)
		}
	}
}

func TestOnlyTheNameIsSpliced(t *testing.T) {
	var got string
	e := engine(t, func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if int64(len(b)) != r.ContentLength {
			t.Errorf("length said %d, was %d", r.ContentLength, len(b))
		}
		got = string(b)
	})
	g := grants(e.URL)
	g.admit = func(_ context.Context, model string) (*messages.Grant, error) {
		if model != "café" {
			t.Errorf("asked for %q", model)
		}
		return &messages.Grant{Model: "tiny", Upstream: `a/"b"`, URL: e.URL}, nil
	}
	h := open(t, g)
	text(t, h.post(chat, `{"a":"model","mod\u0065l" :  "caf\u00e9" , "z":{"model":"x"}}`))
	if want := `{"a":"model","mod\u0065l" :  "a/\"b\"" , "z":{"model":"x"}}`; got != want {
		t.Errorf("the engine saw %s", got)
	}
}

func TestChunksComeBeforeTheEngineHasFinished(t *testing.T) {
	next := make(chan string)
	e := engine(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		for s := range next {
			_, _ = io.WriteString(w, s)
			w.(http.Flusher).Flush()
		}
	})
	h := open(t, grants(e.URL))
	resp := h.post(chat, `{"model":"tiny","stream":true}`) // returns: the head comes before any chunk
	if resp.Header.Get("X-Accel-Buffering") != "no" || resp.Header.Get("X-Modelops-Queue-Position") != "0" {
		t.Errorf("headers %v", resp.Header)
	}
	in := bufio.NewReader(resp.Body)
	for i := range 20 {
		want := fmt.Sprintf("data: %d\n", i)
		next <- want + "\n" // the engine doesn't go on before this chunk was seen
		line, err := in.ReadString('\n')
		if err != nil || line != want {
			t.Fatalf("chunk %d: %q %v", i, line, err)
		}
		_, _ = in.ReadString('\n')
	}
	close(next)
	if rest, err := io.ReadAll(in); err != nil || len(rest) != 0 {
		t.Errorf("rest %q %v", rest, err)
	}
}

func TestPlainAnswersAreNotHeldBackEither(t *testing.T) {
	proceed := make(chan struct{})
	e := engine(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "4")
		_, _ = io.WriteString(w, "ab")
		w.(http.Flusher).Flush()
		<-proceed
		_, _ = io.WriteString(w, "cd")
	})
	h := open(t, grants(e.URL))
	resp := h.post(chat, `{"model":"tiny"}`)
	half := make([]byte, 2)
	if _, err := io.ReadFull(resp.Body, half); err != nil || string(half) != "ab" {
		t.Fatalf("%q %v", half, err)
	}
	close(proceed)
	if rest := text(t, resp); rest != "cd" || resp.ContentLength != 4 {
		t.Errorf("%q, length %d", rest, resp.ContentLength)
	}
}

func TestHeadersAreClean(t *testing.T) {
	var in http.Header
	e := engine(t, func(w http.ResponseWriter, r *http.Request) {
		in = r.Header.Clone()
		h := w.Header()
		h.Set("Connection", "X-Private")
		h.Set("X-Private", "p")
		h.Set("Keep-Alive", "timeout=5")
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("X-Engine", "e")
		h.Set("X-Request-Id", "the engine's")
		h.Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "ok")
		w.(http.Flusher).Flush()
		h.Set("X-Sum", "42")
		h.Set(http.TrailerPrefix+"X-Late", "43")
	})
	g := grants(e.URL)
	h := open(t, g, func(o *Options) {
		o.Authenticate = func(context.Context, messages.Credentials) (messages.Principal, error) {
			return messages.Principal{Name: "alice", Fingerprint: "f", Role: messages.Role_INFER}, nil
		}
	})
	sent := []string{"Connection", "X-Mine, keep-alive", "X-Mine", "1", "Keep-Alive", "1", "Te", "trailers", "Upgrade", "x", "Proxy-Authorization", "p",
		"Authorization", "Bearer secret", "X-Api-Key", "secret", "Cookie", "a=b", "Idempotency-Key", "k", "X-Other", "o", "X-Request-Id", "mine-1", "Accept-Encoding", "gzip"}
	resp := h.post(chat, `{"model":"tiny"}`, sent...)
	text(t, resp)
	for _, name := range []string{"X-Mine", "Keep-Alive", "Upgrade", "Proxy-Authorization", "Authorization", "X-Api-Key", "Cookie", "Idempotency-Key"} {
		if v, ok := in[name]; ok {
			t.Errorf("the engine saw %s: %v", name, v)
		}
	}
	for name, want := range map[string]string{"X-Other": "o", "X-Request-Id": "mine-1", "Te": "trailers", "Content-Type": "application/json", "Accept-Encoding": "gzip"} {
		if in.Get(name) != want {
			t.Errorf("the engine saw %s: %q", name, in.Get(name))
		}
	}
	for name, want := range map[string]string{"X-Private": "", "Keep-Alive": "", "Access-Control-Allow-Origin": "", "X-Engine": "e", "X-Request-Id": "mine-1"} {
		if resp.Header.Get(name) != want {
			t.Errorf("the client saw %s: %q", name, resp.Header.Get(name))
		}
	}
	if resp.Trailer.Get("X-Sum") != "42" || resp.Trailer.Get("X-Late") != "43" {
		t.Errorf("trailers %v", resp.Trailer)
	}
}

func TestRemotesGetTheirOwnKey(t *testing.T) {
	var in http.Header
	var at string
	e := engine(t, func(_ http.ResponseWriter, r *http.Request) { in, at = r.Header.Clone(), r.URL.Path })
	g := grants(e.URL)
	g.admit = func(context.Context, string) (*messages.Grant, error) {
		return &messages.Grant{Model: "far", Upstream: "gpt", URL: e.URL + "/api/v1", APIKey: "theirs"}, nil
	}
	h := open(t, g)
	text(t, h.post("/v1/messages", `{"model":"far"}`, "Authorization", "Bearer mine", "X-Api-Key", "mine"))
	if in.Get("Authorization") != "Bearer theirs" || in.Get("X-Api-Key") != "theirs" || at != "/api/v1/messages" {
		t.Errorf("%s %v", at, in)
	}
}

func TestQueueIsTold(t *testing.T) {
	e := engine(t, func(http.ResponseWriter, *http.Request) {})
	g := grants(e.URL)
	g.admit = func(context.Context, string) (*messages.Grant, error) {
		return &messages.Grant{Actor: messages.ModelActor("pc2", "tiny"), Model: "tiny", URL: e.URL, Queued: 1500 * time.Millisecond, Position: 3}, nil
	}
	h := open(t, g).post(chat, `{"model":"tiny"}`).Header
	if h.Get("X-Modelops-Queue-Position") != "3" || h.Get("X-Modelops-Queue-Ms") != "1500" || h.Get("Server-Timing") != "queue;dur=1500.000" || h.Get(messages.HostHeader) != "pc2" {
		t.Errorf("%v", h)
	}
	if len(h.Get("X-Request-Id")) < 16 {
		t.Errorf("no id was made: %q", h.Get("X-Request-Id"))
	}
}

func TestModels(t *testing.T) {
	g := refuses(nil)
	g.views = []*messages.ModelView{
		{Name: "org/tiny", Phase: messages.ModelView_ready, ReadyMs: 1700000000123, MeasuredBytes: 7, Slots: 2, Spec: &messages.ModelSpec{Runtime: "embedded", Aliases: []string{"gpt"}, ContextLength: 512, Path: "/secret/path"}},
		{Name: "hidden", Phase: messages.ModelView_absent, Spec: &messages.ModelSpec{Unlisted: true}},
	}
	h := open(t, g)
	one := `{"id":"org/tiny","object":"model","created":1700000000,"owned_by":"modelops","name":"org/tiny","status":"ready","aliases":["gpt"],` +
		`"meta":{"runtime":"embedded","n_ctx":512,"slots":2,"vram_bytes":7,"active":0,"queued":0}}`
	for path, want := range map[string]string{
		"/v1/models": `{"object":"list","data":[` + one + `]}`, "/v1/models/org/tiny": one, "/v1/models/gpt": one,
		"/v1/models/hidden": `{"id":"hidden","object":"model","created":0,"owned_by":"modelops","name":"hidden","status":"absent","aliases":[],"meta":{"active":0,"queued":0}}`,
	} {
		if got := text(t, h.do(t.Context(), "GET", path, "")); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", path, got, want)
		}
	}
	resp := h.do(t.Context(), "GET", "/v1/models/none", "")
	if body := text(t, resp); resp.StatusCode != 404 || !strings.Contains(body, `"code":"model_not_found"`) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}
