package openai

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

// A body that stops arriving is refused with its reason: net/http has ended the request's context by then, and the client is still there.
func TestAStalledBodyIsAnswered(t *testing.T) {
	api := New(Options{Gateway: refuses(messages.NewError(messages.Internal, "", "it reached the gateway"))})
	defer api.Close()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(50 * time.Millisecond)) // meant to pass: the server's bound on a silent body
		api.ServeHTTP(w, r)
	}))
	defer s.Close()
	for _, head := range []string{"Content-Length: 100\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"} {
		c, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"+head); err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(c)
		_ = c.Close()
		if !strings.Contains(string(got), " 504 ") || !strings.Contains(string(got), "X-Modelops-Code: DEADLINE_EXCEEDED") || !strings.Contains(string(got), "stopped arriving") {
			t.Errorf("%q: %q", head, got)
		}
	}
}
