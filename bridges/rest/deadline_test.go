package rest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

// readsAll answers with the size of the body, or with why it didn't come.
func readsAll(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		w.WriteHeader(http.StatusRequestTimeout)
		return
	}
	_, _ = fmt.Fprintf(w, "%d %v", len(b), err)
}

func (w *world) dial() (net.Conn, *bufio.Reader) {
	w.t.Helper()
	c, err := net.Dial("tcp", w.s.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	return c, bufio.NewReader(c)
}

func ended(t *testing.T, in *bufio.Reader) string {
	t.Helper()
	b, err := io.ReadAll(in)
	if err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
		t.Fatal(err)
	}
	return string(b)
}

// A body that stops is ended, whoever reads it: the inference API, an operation, or nobody.
func TestAStalledBodyIsEnded(t *testing.T) {
	w := startWith(t, Options{OpenAI: http.HandlerFunc(readsAll), Operations: (&asked{}).operations(), Limits: Limits{BodyStall: 50 * time.Millisecond}})
	for path, want := range map[string]string{"/v1/x": " 408 ", "/api/models/load": " 504 ", "/health": " 405 "} {
		for _, head := range []string{"Content-Length: 100\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"} {
			c, in := w.dial()
			if _, err := io.WriteString(c, "POST "+path+" HTTP/1.1\r\nHost: localhost\r\n"+head); err != nil {
				t.Fatal(err)
			}
			if got := ended(t, in); !strings.Contains(got, want) {
				t.Errorf("%s, %q: %q", path, head, got)
			}
		}
	}
}

// A refusal doesn't wait for the body that it refuses, and the connection ends: at an operation, a page, a page's method, a foreign Host and the inference API.
func TestARefusalDoesNotWaitForTheBody(t *testing.T) {
	stranger := func(context.Context, messages.Credentials) (messages.Principal, error) {
		return messages.Principal{}, messages.NewError(messages.Unauthenticated, "API key", "there is none")
	}
	w := startWith(t, Options{Operations: (&asked{}).operations(), Authenticate: stranger, Limits: Limits{BodyStall: time.Hour, BodyTime: time.Hour},
		OpenAI: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })})
	for _, c := range []struct{ request, host, want string }{
		{"POST /v1/x", "localhost", " 401 "}, {"POST /api/models/load", "localhost", " 401 "}, {"GET /running", "localhost", " 401 "},
		{"POST /health", "localhost", " 405 "}, {"GET /health", "localhost", " 200 "}, {"POST /v1/x", "elsewhere.example", " 403 "},
	} {
		for _, head := range []string{"Content-Length: 100\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"} {
			conn, in := w.dial()
			_ = conn.SetDeadline(time.Now().Add(time.Minute)) // far more than it takes, and far less than a body may stall
			if _, err := io.WriteString(conn, c.request+" HTTP/1.1\r\nHost: "+c.host+"\r\n"+head); err != nil {
				t.Fatal(err)
			}
			if got := ended(t, in); !strings.Contains(got, c.want) || !strings.Contains(got, "Connection: close") {
				t.Errorf("%s, %q: %q", c.request, head, got)
			}
		}
	}
}

// A body that goes on arriving isn't ended by its silence, and one that takes too long in all is. The connection of a body that came whole goes on.
func TestABodyThatArrives(t *testing.T) {
	w := startWith(t, Options{OpenAI: http.HandlerFunc(readsAll), Operations: (&asked{}).operations(), Limits: Limits{BodyStall: time.Hour, BodyTime: 100 * time.Millisecond}})
	c, in := w.dial()
	if _, err := io.WriteString(c, "POST /v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	go func(c net.Conn) {
		for { // never silent
			if _, err := io.WriteString(c, "x"); err != nil {
				return
			}
		}
	}(c)
	if got, err := in.ReadString('\n'); err != nil || !strings.Contains(got, " 408 ") && !strings.Contains(got, " 200 ") {
		t.Errorf("%q %v", got, err)
	}

	moved := &arriving{ReadCloser: io.NopCloser(strings.NewReader("abc")), conn: http.NewResponseController(nowhere{}), stall: time.Hour, end: time.Now().Add(2 * time.Hour)}
	before := moved.moved
	if _, err := moved.Read(make([]byte, 1)); err != nil || !moved.moved.After(before) {
		t.Error("reading doesn't move the deadline")
	}

	w = startWith(t, Options{OpenAI: http.HandlerFunc(readsAll), Operations: (&asked{}).operations()})
	c, in = w.dial()
	for range 2 {
		if _, err := io.WriteString(c, "POST /v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		_, _ = io.ReadAll(resp.Body)
	}
}

// Heads that come too slowly, are too long or have too many lines are refused.
func TestHeadsAreBounded(t *testing.T) {
	w := startWith(t, Options{OpenAI: http.HandlerFunc(readsAll), Operations: (&asked{}).operations(), Limits: Limits{HeaderTime: 50 * time.Millisecond, HeaderCount: 20, HeaderBytes: 4096}})
	c, in := w.dial()
	if _, err := io.WriteString(c, "GET /health HTTP/1.1\r\nHost: loc"); err != nil {
		t.Fatal(err)
	}
	if got := ended(t, in); strings.Contains(got, " 200 ") {
		t.Errorf("%q", got)
	}
	for what, lines := range map[string]string{"too many": strings.Repeat("X-A: b\r\n", 30), "too long": "X-A: " + strings.Repeat("b", 20000) + "\r\n"} {
		c, in := w.dial()
		if _, err := io.WriteString(c, "GET /health HTTP/1.1\r\nHost: localhost\r\n"+lines+"Connection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if got := ended(t, in); !strings.Contains(got, " 431 ") {
			t.Errorf("%s: %q", what, got)
		}
	}
}

// A client that reads nothing ends its own answer, and no other.
func TestASlowReaderIsEnded(t *testing.T) {
	left := make(chan error, 1)
	w := startWith(t, Options{Operations: (&asked{}).operations(), Limits: Limits{WriteStall: 50 * time.Millisecond}, OpenAI: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/flood" {
			_, _ = io.WriteString(w, "in")
			return
		}
		for piece := make([]byte, 1<<20); ; {
			if _, err := w.Write(piece); err != nil {
				left <- err
				return
			}
		}
	})})
	c, _ := w.dial()
	if _, err := io.WriteString(c, "GET /v1/flood HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := <-left; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	if code, _, body := w.do("GET", "/v1/x", ""); code != 200 || body != "in" {
		t.Error(code, body, messages.Unavailable)
	}
}
