package openai

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"modelops/messages"
)

// TestNoBodyNamesAnotherModel: a key for some models only can't name another one in a body that passes unread.
func TestNoBodyNamesAnotherModel(t *testing.T) {
	form := func(head string) string {
		return "--b\r\nContent-Disposition: form-data; " + head + "\r\n\r\nother\r\n--b--\r\n"
	}
	const raw, multipart = "application/octet-stream", "multipart/form-data; boundary=b"
	for _, c := range []struct {
		path, media, body string
		scoped, free      int
	}{
		{"/v1/completions?model=tiny", raw, `{"model":"other"}`, 400, 200},
		{"/v1/completions?model=tiny", raw, " \n{\"model\":\"tiny\",\"model\":\"other\"}", 400, 200},
		{"/v1/completions?model=tiny", raw, "\xef\xbb\xbf{\"model\":\"other\"}", 400, 200},
		{"/v1/completions?model=tiny", raw, "\xff\xfe{\x00\"\x00", 400, 200},
		{"/upstream/tiny/v1/completions", raw, `{"model":"other"}`, 400, 200},
		{"/v1/completions?model=tiny", raw, `{"model":"tiny"}`, 200, 200},
		{"/v1/completions?model=tiny", raw, "RIFF", 200, 200},
		{"/v1/audio/transcriptions?model=tiny", multipart, form(`name="model"; filename="x"`), 400, 200},
		{"/v1/audio/transcriptions?model=tiny", multipart, form(`name="file"; filename="x"`), 200, 200},
		{"/upstream/tiny/../other/x", raw, "", 404, 404},
		{"/upstream/tiny/x/%2e%2e/%2e%2e/other", raw, "", 404, 404},
	} {
		for scope, want := range map[*messages.Scope]int{{Models: []string{"tiny"}}: c.scoped, nil: c.free} {
			var got whatCame
			h := open(t, declares(listener(t, &got), "tiny"), func(o *Options) {
				o.Authenticate = func(context.Context, messages.Credentials) (messages.Principal, error) {
					return messages.Principal{Name: "k", Role: messages.Role_READ, Scope: scope}, nil
				}
			})
			if resp := h.post(c.path, c.body, "Content-Type", c.media); resp.StatusCode != want {
				t.Errorf("%s %q, scope %v: %d %s", c.path, c.body, scope, resp.StatusCode, text(t, resp))
			}
		}
	}
}

// TestATunnelEndsWithItsKey: a connection that was taken over doesn't outlive the key that opened it.
func TestATunnelEndsWithItsKey(t *testing.T) {
	var verdict atomic.Pointer[messages.Error]
	e := engine(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
		_ = rw.Flush()
		_, _ = io.Copy(rw, rw)
	})
	asked := make(chan struct{}, 1)
	api := New(Options{Gateway: declares(e.URL, "tiny"), Authenticate: func(context.Context, messages.Credentials) (messages.Principal, error) {
		select {
		case asked <- struct{}{}:
		default:
		}
		if bad := verdict.Load(); bad != nil {
			return messages.Principal{}, bad
		}
		return messages.Principal{Name: "k", Role: messages.Role_READ}, nil
	}})
	api.recheck = time.Millisecond
	door := &http.Server{Handler: api}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = door.Serve(l) }()
	t.Cleanup(func() { _ = door.Close(); api.Close() })
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /upstream/tiny/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
	in := bufio.NewReader(conn)
	if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != 101 {
		t.Fatal(resp, err)
	}
	verdict.Store(messages.NewError(messages.Unavailable, "", "the issuer is away"))
	for range 5 { // looks that found nothing out
		<-asked
	}
	fmt.Fprint(conn, "still\n")
	if line, err := in.ReadString('\n'); err != nil || line != "still\n" {
		t.Fatalf("%q %v: the tunnel ended although nobody knows that it must", line, err)
	}
	verdict.Store(messages.NewError(messages.Unauthenticated, "", "the key was revoked"))
	if rest, _ := io.ReadAll(in); strings.TrimSpace(string(rest)) != "" { // it returns: the connection is closed
		t.Errorf("%q", rest)
	}
}

// TestEnginesDontSpeakForTheHost: what a browser would take for the whole host isn't passed on, also where a connection could be taken over.
func TestEnginesDontSpeakForTheHost(t *testing.T) {
	names := []string{"Set-Cookie", "Service-Worker-Allowed", "Clear-Site-Data", "Strict-Transport-Security", "Alt-Svc", "Access-Control-Allow-Origin"}
	e := engine(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Own", "1")
		for _, name := range names {
			w.Header().Set(name, "x")
		}
	})
	h := open(t, declares(e.URL, "tiny"))
	for _, upgrade := range []string{"", "websocket"} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", h.URL+"/upstream/tiny/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		if upgrade != "" {
			r.Header.Set("Upgrade", upgrade)
			r.Header.Set("Connection", "Upgrade")
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text(t, resp)
		if resp.StatusCode != 200 || resp.Header.Get("X-Own") != "1" {
			t.Errorf("%q: %d %v", upgrade, resp.StatusCode, resp.Header)
		}
		for _, name := range names {
			if resp.Header.Get(name) != "" {
				t.Errorf("%q: %s is passed on", upgrade, name)
			}
		}
	}
}
