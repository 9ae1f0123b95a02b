package openai

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

// knows is a house whose only key is alice's.
func knows(required bool) messages.Authenticate {
	return func(_ context.Context, c messages.Credentials) (messages.Principal, error) {
		key := c.Key
		switch {
		case key == "alice-key":
			return messages.Principal{Name: "alice", Class: "interactive", Fingerprint: "f00", Role: messages.Role_ADMIN}, nil
		case key == "" && !required:
			return messages.Principal{Class: "normal", Role: messages.Role_INFER}, nil
		}
		return messages.Principal{}, messages.NewError(messages.Unauthenticated, "API key", "it is unknown")
	}
}

func TestCallersAreKnownByTheirKey(t *testing.T) {
	var seenKey string
	e := engine(t, func(w http.ResponseWriter, r *http.Request) {
		seenKey = r.Header.Get("Authorization") + r.Header.Get("X-Api-Key") + r.Header.Get("X-Forwarded-User") + r.Header.Get("X-Auth-Request-Access-Token") + r.Header.Get("X-House-User")
	})
	g := grants(e.URL)
	grant := g.admit
	var who messages.Caller
	var meta messages.Meta
	g.admit = func(ctx context.Context, model string) (*messages.Grant, error) {
		who, meta = messages.CallerFrom(ctx), messages.MetaFrom(ctx)
		return grant(ctx, model)
	}
	h := open(t, g, func(o *Options) {
		o.Authenticate, o.Withheld = knows(false), func() []string { return []string{"X-House-User"} } // the name that a configuration gave it
	})
	for _, c := range []struct{ header, value, name, class string }{
		{"Authorization", "Bearer alice-key", "alice", "interactive"}, {"X-Api-Key", "alice-key", "alice", "interactive"}, {"X-Other", "1", "", "normal"},
	} {
		resp := h.post(chat, `{"model":"tiny"}`, c.header, c.value, "X-Request-Id", "r1", "X-Forwarded-User", "eve", "X-Auth-Request-Access-Token", "t", "x-house-user", "eve")
		if resp.StatusCode != 200 || who.Name != c.name || who.Class != c.class || who.RequestID != "r1" || seenKey != "" || meta.Correlation != "r1" || (meta.Caller != "") != (c.name != "") {
			t.Errorf("%s: %d %+v %+v, engine saw %q", c.header, resp.StatusCode, who, meta, seenKey)
		}
	}
}

// A caller whose role doesn't cover inference reaches neither the gateway nor the list of models.
func TestInferenceNeedsItsRole(t *testing.T) {
	h := open(t, refuses(messages.NewError(messages.Internal, "", "it reached the gateway")), func(o *Options) {
		o.Authenticate = func(context.Context, messages.Credentials) (messages.Principal, error) {
			return messages.Principal{Name: "pc2", Role: messages.Role_PEER}, nil
		}
	})
	for path, rt := range passThrough {
		if !rt.takes("POST") {
			continue
		}
		if resp := h.post(path, `{"model":"tiny"}`); resp.StatusCode != 403 {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
	if resp := h.do(t.Context(), "GET", "/v1/models", ""); resp.StatusCode != 403 {
		t.Errorf("the list: %d", resp.StatusCode)
	}
}

func TestUnknownKeysAreRefused(t *testing.T) {
	for _, c := range []struct {
		required bool
		header   string
		value    string
	}{{false, "Authorization", "Bearer wrong"}, {false, "X-Api-Key", "wrong"}, {false, "Authorization", "Basic alice-key"}, {true, "X-Other", "1"}} {
		h := open(t, refuses(messages.NewError(messages.Internal, "", "it reached the gateway")), func(o *Options) { o.Authenticate = knows(c.required) })
		for _, resp := range []*http.Response{h.post(chat, `{"model":"tiny"}`, c.header, c.value), h.do(t.Context(), "GET", "/v1/models", "", c.header, c.value)} {
			if body := text(t, resp); resp.StatusCode != 401 || resp.Header.Get("Www-Authenticate") != "Bearer" || !strings.Contains(body, `"type":"authentication_error"`) || strings.Contains(body, "wrong") {
				t.Errorf("%+v: %d %v %s", c, resp.StatusCode, resp.Header, body)
			}
		}
	}
}

// TestKeepAliveIsTakenOut: the gateway gets it, the engine doesn't, and all other bytes stay.
func TestKeepAliveIsTakenOut(t *testing.T) {
	var got string
	e := engine(t, func(_ http.ResponseWriter, r *http.Request) { b, _ := io.ReadAll(r.Body); got = string(b) })
	g := grants(e.URL)
	grant := g.admit
	var keep *time.Duration
	g.admit = func(ctx context.Context, model string) (*messages.Grant, error) {
		keep = messages.CallerFrom(ctx).KeepAlive
		return grant(ctx, model)
	}
	h := open(t, g)
	for _, c := range []struct{ body, want, keep string }{
		{`{"keep_alive": 0, "model":"tiny","x":{"keep_alive":1}}`, `{ "model":"tiny","x":{"keep_alive":1}}`, "0s"},
		{`{"model":"tiny" , "keep_alive" : "5m" }`, `{"model":"tiny" }`, "5m0s"},
		{`{"a":1,"keep\u005falive":-1,"model":"tiny"}`, `{"a":1,"model":"tiny"}`, "-1ns"},
		{`{"model":"tiny","keep_alive":null}`, `{"model":"tiny"}`, "nil"},
		{`{"model":"tiny"}`, `{"model":"tiny"}`, "nil"},
	} {
		resp := h.post(chat, c.body)
		kept := "nil"
		if keep != nil {
			kept = keep.String()
		}
		if resp.StatusCode != 200 || got != c.want || kept != c.keep {
			t.Errorf("%s: %d, the engine saw %s, keep_alive %s", c.body, resp.StatusCode, got, kept)
		}
	}
	for _, body := range []string{`{"model":"tiny","keep_alive":"soon"}`, `{"model":"tiny","keep_alive":true}`, `{"keep_alive":1,"model":"tiny","keep_alive":2}`} {
		if resp := h.post(chat, body); resp.StatusCode != 400 || !strings.Contains(text(t, resp), `"param":"keep_alive"`) {
			t.Errorf("%s: %d", body, resp.StatusCode)
		}
	}
}

// queued waits as the gateway does: it tells at once and again after a while, then grants or refuses.
func queued(url string, err error, places ...messages.QueuePlace) *fakeGateway {
	g := grants(url)
	grant := g.admit
	g.admit = func(ctx context.Context, model string) (*messages.Grant, error) {
		for _, p := range places {
			if told := messages.CallerFrom(ctx).OnQueued; told != nil {
				told(p)
			}
		}
		if err != nil {
			return nil, err
		}
		out, _ := grant(ctx, model)
		out.Position, out.Expected, out.Queued = 2, 1500*time.Millisecond, time.Second
		return out, nil
	}
	return g
}

func TestStreamsHearWhereTheyStand(t *testing.T) {
	sse := engine(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\ndata: [DONE]\n\n")
	})
	first, second := messages.QueuePlace{Position: 3, Expected: 1230 * time.Millisecond, WaitsFor: "a place"}, messages.QueuePlace{Position: 1, Waited: time.Second, WaitsFor: "loading"}
	long := messages.QueuePlace{Position: 3, Waited: 600 * time.Millisecond, Expected: 1230 * time.Millisecond, WaitsFor: "a place"}
	full := messages.NewError(messages.BulkheadRejection, "", "full").WithRetry(1500 * time.Millisecond)
	for _, c := range []struct {
		name   string
		err    error
		places []messages.QueuePlace
		// A short wait is one that no busy machine makes long.
		patience time.Duration
		code     int
		want     string
	}{
		{"a long wait", nil, []messages.QueuePlace{first, long, second}, defaultQueuePatience, 200,
			": queued position=3 expected=1.2s waits_for=a_place\n\n: queued position=1 waits_for=loading\n\ndata: 1\n\ndata: [DONE]\n\n"},
		{"a short wait", nil, []messages.QueuePlace{first}, time.Hour, 200, "data: 1\n\ndata: [DONE]\n\n"},
		{"a refusal after a long wait", full, []messages.QueuePlace{long}, defaultQueuePatience, 200,
			": queued position=3 expected=1.2s waits_for=a_place\n\ndata: {\"error\":{\"message\":\"full\",\"type\":\"rate_limit_error\",\"param\":null,\"code\":\"bulkhead_rejection\",\"src\":\"modelops\"}}\n\ndata: [DONE]\n\n"},
		{"a refusal after a short wait", full, []messages.QueuePlace{first}, time.Hour, 429,
			"{\"error\":{\"message\":\"full\",\"type\":\"rate_limit_error\",\"param\":null,\"code\":\"bulkhead_rejection\",\"src\":\"modelops\"}}"},
	} {
		h := open(t, queued(sse.URL, c.err, c.places...), func(o *Options) { o.Heartbeat = time.Hour })
		h.Config.Handler.(*API).queuePatience = c.patience
		resp := h.post(chat, `{"model":"tiny","stream":true}`)
		if got := text(t, resp); resp.StatusCode != c.code || got != c.want {
			t.Errorf("%s: %d %q", c.name, resp.StatusCode, got)
		}
		if c.code == 429 && (resp.Header.Get("Retry-After") != "2" || resp.Header.Get("Retry-After-Ms") != "1500") {
			t.Errorf("%s: %v", c.name, resp.Header)
		}
		if c.name == "a long wait" && (resp.Header.Get("X-Modelops-Queue-Position") != "3" || resp.Header.Get("X-Modelops-Queue-Expected-Ms") != "1230") {
			t.Errorf("%s: %v", c.name, resp.Header)
		}
		if c.name == "a short wait" && (resp.Header.Get("X-Modelops-Queue-Position") != "2" || resp.Header.Get("X-Modelops-Queue-Expected-Ms") != "1500" || resp.Header.Get("X-Modelops-Queue-Ms") != "1000") {
			t.Errorf("%s: %v", c.name, resp.Header)
		}
	}
}

// TestTheFirstCommentComesByItself: half a second after the wait began, though nothing new is told until then.
func TestTheFirstCommentComesByItself(t *testing.T) {
	g, placed := grants(""), make(chan struct{})
	g.admit = func(ctx context.Context, _ string) (*messages.Grant, error) {
		messages.CallerFrom(ctx).OnQueued(messages.QueuePlace{Position: 1, Waited: defaultQueuePatience - time.Millisecond, WaitsFor: "placing"})
		<-placed
		return nil, messages.NewError(messages.GPUUnavailable, "", "no room")
	}
	h := open(t, g, func(o *Options) { o.Heartbeat = time.Hour })
	in := bufio.NewReader(h.post(chat, `{"model":"tiny","stream":true}`).Body)
	line, err := in.ReadString('\n')
	close(placed)
	if err != nil || line != ": queued position=1 waits_for=placing\n" {
		t.Errorf("%q %v", line, err)
	}
	if rest, err := io.ReadAll(in); err != nil || !strings.HasSuffix(string(rest), "}}\n\ndata: [DONE]\n\n") {
		t.Errorf("%q %v", rest, err)
	}
}

func TestNoCommentsWithoutStreaming(t *testing.T) {
	e := engine(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	h := open(t, queued(e.URL, nil, messages.QueuePlace{Position: 1, Waited: time.Minute}))
	resp := h.post(chat, `{"model":"tiny"}`)
	if got := text(t, resp); got != "{}" || resp.Header.Get("X-Modelops-Queue-Position") != "2" {
		t.Errorf("%q %v", got, resp.Header)
	}
}

// A request that waited for its place at a worker of another host says so to its caller. A worker of this host can't say it.
func TestQueueHeadersOfAnotherHost(t *testing.T) {
	e := engine(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(messages.QueueMsHeader, "1500")
		w.Header().Set(messages.QueuePositionHeader, "2")
	})
	for host, want := range map[string]string{"": "0 0", "pc2": "2 1500"} {
		g := grants(e.URL)
		admit := g.admit
		g.admit = func(ctx context.Context, model string) (*messages.Grant, error) {
			grant, err := admit(ctx, model)
			grant.Host = host
			return grant, err
		}
		h := open(t, g).post(chat, `{"model":"tiny"}`).Header
		if got := h.Get(messages.QueuePositionHeader) + " " + h.Get(messages.QueueMsHeader); got != want {
			t.Errorf("at %q: %s, want %s", host, got, want)
		}
	}
}
