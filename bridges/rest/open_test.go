package rest

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"modelops/messages"
)

// A page is open to strangers only when it stands here; a new one needs an operation's role, or a line with a reason.
func TestOnlyThesePagesAreOpen(t *testing.T) {
	open := map[string]string{
		"/": "says that this is ModelOps", "/health": "load balancers have no key", tokenPath: "a token gives no right",
	}
	asked := 0
	w := startWith(t, Options{OpenAI: http.HandlerFunc(nothing), Metrics: http.HandlerFunc(nothing), Authenticate: func(context.Context, messages.Credentials) (messages.Principal, error) {
		asked++
		return messages.Principal{}, messages.NewError(messages.Unauthenticated, "API key", "it is unknown")
	}})
	for _, path := range slices.Sorted(maps.Keys(w.s.pages)) {
		_, isOpen := open[path]
		delete(open, path)
		asked = 0
		if status, _, body := w.do("GET", path, ""); (status == 200) != isOpen || !isOpen && (status != 401 || asked == 0) {
			t.Errorf("%s: %d %s, asked %d times who it is", path, status, body, asked)
		}
	}
	if len(open) > 0 {
		t.Errorf("there are no pages %v", open)
	}
}

// What ails a host names models: a stranger learns only that something does.
func TestAStrangerLearnsNoReasons(t *testing.T) {
	role := messages.Role_INFER
	w := startWith(t, Options{OpenAI: http.HandlerFunc(nothing), Authenticate: func(context.Context, messages.Credentials) (messages.Principal, error) {
		return messages.Principal{Name: "x", Role: role}, nil
	}})
	if _, _, body := w.do("GET", "/health?verbose", ""); string(body) != `{"status":"ok"}` {
		t.Errorf("a caller that may infer sees %s", body)
	}
	role = messages.Role_READ
	if _, _, body := w.do("GET", "/health?verbose", ""); len(body) < 50 {
		t.Errorf("a reader sees %s", body)
	}
}

// Who has sent too many wrong keys is told when to come back, at operations and pages.
func TestARefusalSaysWhenToComeBack(t *testing.T) {
	w := startWith(t, Options{OpenAI: http.HandlerFunc(nothing), Operations: (&asked{}).operations(), Authenticate: func(context.Context, messages.Credentials) (messages.Principal, error) {
		return messages.Principal{}, messages.NewError(messages.BulkheadRejection, "API key", "too many").WithRetry(1500 * time.Millisecond)
	}})
	for _, path := range []string{"/status", "/running"} {
		if status, h, _ := w.do("GET", path, ""); status != 429 || h.Get("Retry-After") != "2" || h.Get("Retry-After-Ms") != "1500" {
			t.Errorf("%s: %d %v", path, status, h)
		}
	}
}
