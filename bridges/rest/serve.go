package rest

import (
	"cmp"
	"net/http"
	"runtime/debug"
	"strconv"

	"modelops/messages"
)

// statusClientGone is what is counted for a caller that left.
const statusClientGone = 499

// ServeHTTP guards, routes and counts.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.running.Add(1)
	defer s.running.Done()
	seen := &recorder{ResponseWriter: w}
	defer s.count(seen, r)
	defer s.rescue(seen, r)
	if err := foreign(r); err != nil {
		writeTyped(seen, err)
		return
	}
	if page := s.pages[r.URL.Path]; page != nil {
		seen.pattern = r.URL.Path
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			refuseMethod(seen, r, http.MethodGet, http.MethodHead)
			return
		}
		page(seen, r)
		return
	}
	if s.operations.serve(seen, r) {
		return
	}
	s.o.OpenAI.ServeHTTP(seen, r)
}

// rescue turns a panic into a 500, or, when an answer has begun, into a closed connection.
func (s *Server) rescue(w *recorder, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		if w.code == 0 {
			w.code = statusClientGone // only a client that left ends a request before the status
		}
		panic(p)
	}
	s.o.Log.Error("a request panicked", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
	if w.code != 0 {
		panic(http.ErrAbortHandler)
	}
	writeError(w, http.StatusInternalServerError, messages.NewError(messages.Internal, r.URL.Path, "the server made a mistake; its log says more"))
}

func (s *Server) count(w *recorder, r *http.Request) {
	if s.o.Observe == nil {
		return
	}
	code := w.code
	if code == 0 {
		code = http.StatusOK
	}
	s.o.Observe(r.Method, cmp.Or(w.pattern, r.Pattern), strconv.Itoa(code))
}

// recorder remembers status and pattern. Flushes and deadlines reach the connection through Unwrap.
type recorder struct {
	http.ResponseWriter
	code    int    // 0 = nothing was written
	pattern string // under which it is counted; empty = none of ours
}

// notePattern tells under which pattern a request is counted.
func notePattern(w http.ResponseWriter, pattern string) {
	if seen, ok := w.(*recorder); ok {
		seen.pattern = pattern
	}
}

func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *recorder) WriteHeader(code int) {
	if w.code == 0 && code >= 200 {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}
