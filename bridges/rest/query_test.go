package rest

import (
	"net/http"
	"strings"
	"testing"
)

// A field that an operation doesn't have is refused, with the one that was meant, and so is one that belongs into the body.
func TestUnknownQueryFields(t *testing.T) {
	a := &asked{}
	w := startWith(t, Options{OpenAI: http.HandlerFunc(nothing), Operations: a.operations()})
	for _, c := range []struct{ method, path, want string }{
		{"GET", "/api/journal?actr=x", `did you mean \"actor\"?`}, {"GET", "/api/journal?zzzzzzz=1", "its fields are"}, {"GET", "/status?model=x", "unknown field"},
		{"GET", "/api/journal?actor=model/h/x", ""}, {"POST", "/api/models/load?model_name=x", "belongs into the body"}, {"POST", "/api/models/load?modelname=x", "belongs into the body"},
	} {
		a.operation = ""
		code, h, body := w.do(c.method, c.path, "")
		if c.want == "" {
			if code != 200 || a.operation == "" {
				t.Errorf("%s: %d %s", c.path, code, body)
			}
			continue
		}
		if code != 400 || h.Get("X-Modelops-Code") != "INVALID_ARGUMENT" || !strings.Contains(body, c.want) && c.method == "GET" || a.operation != "" {
			t.Errorf("%s: %d %s", c.path, code, body)
		}
	}
}

// Answers of the HTTP level carry a code too.
func TestEveryRefusalHasACode(t *testing.T) {
	w := start(t, nothing)
	for _, c := range [][3]string{{"DELETE", "/health", "INVALID_ARGUMENT"}, {"DELETE", "/status", "INVALID_ARGUMENT"}, {"PUT", "/api/models/load", "INVALID_ARGUMENT"}} {
		if _, h, _ := w.do(c[0], c[1], ""); h.Get("X-Modelops-Code") != c[2] {
			t.Errorf("%s %s: %v", c[0], c[1], h)
		}
	}
}
