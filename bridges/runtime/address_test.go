package runtime

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

// An engine that listens on ::1 only is found there, by readiness and by requests.
func TestAnEngineOnTheOtherFamily(t *testing.T) {
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skip("no IPv6 here:", err)
	} else {
		_ = l.Close()
	}
	r := newRuntime(t, "v6")
	w := start(t, r, fakeSpec())
	if _, _, err := r.AwaitReady(t.Context(), fakeSpec(), w); err != nil {
		t.Fatal(err)
	}
	c := NewClient()
	defer c.Close()
	if _, err := c.Run(t.Context(), &messages.Grant{Model: "fake", Upstream: "fake", URL: w.Url}, &messages.InferenceRequest{Prompt: "hi"}, nil); messages.CodeOf(err) == messages.Unavailable {
		t.Error(err)
	}
}

// Without a check endpoint a worker is ready when it has opened its port.
func TestNoCheckWaitsForThePort(t *testing.T) {
	r := newRuntime(t, "opens late")
	spec := fakeSpec()
	spec.CheckEndpoint = "none"
	w := start(t, r, spec)
	if _, _, err := r.AwaitReady(t.Context(), spec, w); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(w.Url)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal("ready before its port is open:", err)
	}
	_ = c.Close()
}

// An engine outside our process tree, as in a container, is believed at an address that the operator declared when it lists the model; else the
// error says what to declare. At an address that wasn't declared it isn't.
func TestADeclaredEngineIsBelieved(t *testing.T) {
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/models" {
			_, _ = io.WriteString(w, `{"data":[{"id":"inside"}]}`)
			return
		}
		_, _ = io.WriteString(w, "{}")
	}))
	defer engine.Close()
	port := engine.Listener.Addr().(*net.TCPAddr).Port
	for what, c := range map[string]struct{ url, upstream, hint string }{
		"declared with its name": {engine.URL, "inside", ""},
		"declared":               {engine.URL, "", "useModelName: inside"},
		"not declared":           {"", "inside", fmt.Sprintf("proxy: http://127.0.0.1:%d", port)},
	} {
		t.Run(what, func(t *testing.T) {
			r := newRuntime(t, "sleeper")
			spec := fakeSpec()
			spec.Url, spec.UseModelName = c.url, c.upstream
			w := start(t, r, spec)
			w.Url, w.Port = engine.URL, uint32(port)
			_, _, err := r.AwaitReady(t.Context(), spec, w)
			if c.hint == "" && err != nil || c.hint != "" && (err == nil || !strings.Contains(messages.AsError(err).Hint, c.hint)) {
				t.Error(err)
			}
		})
	}
}

// A server that can't be asked may still hold the model: only one that isn't there holds nothing.
func TestWhoCantBeAskedMayHoldIt(t *testing.T) {
	cut := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = c.Close()
		}
	}))
	defer cut.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	r := New(Options{LogDir: t.TempDir(), StopGrace: time.Second})
	spec := &messages.ModelSpec{Name: "m", Runtime: "ollama"}
	if err := r.Stop(t.Context(), spec, &messages.Worker{Remote: true, Url: cut.URL, Nonce: "n"}); messages.CodeOf(err) != messages.ModelUnloadError {
		t.Error("a server that cuts the connection:", err)
	}
	if err := r.Stop(t.Context(), spec, &messages.Worker{Remote: true, Url: gone.URL, Nonce: "n"}); err != nil {
		t.Error("no server:", err)
	}
}
