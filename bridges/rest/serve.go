package rest

import (
	"cmp"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"modelops/messages"
)

// statusClientGone is what is counted for a caller that left.
const statusClientGone = 499

// ServeHTTP guards, routes and counts.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.running.Add(1)
	defer s.running.Done()
	site := s.site()
	page := site.relate(r)
	seen := &recorder{ResponseWriter: w, stall: s.o.Limits.WriteStall}
	if page != foreign {
		seen.origin = r.Header.Get("Origin")
	}
	defer s.count(seen, r)
	defer seen.linger()
	defer s.rescue(seen, r)
	defer seen.unbound()
	seen.watchBody(r, s.o.Limits)
	if !s.enter(seen, r, site, page) {
		return
	}
	if page, ok := s.pages[r.URL.Path]; ok {
		seen.pattern = r.URL.Path
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			refuseMethod(seen, r, http.MethodGet, http.MethodHead)
			return
		}
		s.show(seen, r, page)
		return
	}
	if streamsEvents(r) {
		s.streamEvents(seen, r)
		return
	}
	if s.operations.serve(seen, r) {
		return
	}
	s.o.OpenAI.ServeHTTP(seen, r)
}

// enter answers what needs no handler: requests that aren't served, and the questions of browsers.
func (s *Server) enter(w http.ResponseWriter, r *http.Request, site Site, page relation) bool {
	lines := 0
	for _, values := range r.Header {
		lines += len(values)
	}
	if lines > s.o.Limits.HeaderCount {
		writeError(w, http.StatusRequestHeaderFieldsTooLarge, messages.Errorf(messages.InvalidArgument, "header", "%d lines are more than %d", lines, s.o.Limits.HeaderCount).
			WithHint("send fewer, or raise server.limits.header_count"))
		return false
	}
	if preflight(r) && site.knows(r.Host) {
		answerPreflight(w, r, page)
		return false
	}
	if err := s.admit(r, site, page); err != nil {
		writeTyped(w, err)
		return false
	}
	if r.URL.Path == tokenPath && page != ownPage && page != noPage {
		writeTyped(w, messages.NewError(messages.PermissionDenied, r.URL.Path, "only a page of this host has a use for it"))
		return false
	}
	return true
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

// This host shows no pages. What it answers isn't one, even if a browser opens it.
var noPages, noSniff = []string{"default-src 'none'; frame-ancestors 'none'; sandbox"}, []string{"nosniff"}

// recorder remembers status and pattern. Flushes and deadlines reach the connection through Unwrap.
type recorder struct {
	http.ResponseWriter
	code    int    // 0 = nothing was written
	pattern string // under which it is counted; empty = none of ours
	origin  string // of the page that may read the answer; empty = none may

	body     *arriving     // nil = the request has none
	stall    time.Duration // how long a write may block; 0 = for ever
	bounded  time.Time     // when the write deadline was last moved
	handlers bool          // the handler bounds its writes itself
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
		w.head()
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
		w.head()
	}
	w.boundWrite()
	return w.ResponseWriter.Write(b)
}

// head adds what only the door knows, last: a handler may have copied an engine's headers.
func (w *recorder) head() {
	h := w.Header()
	w.body.abandon(h)
	if len(h["Content-Security-Policy"]) == 0 { // an engine's answer has one
		h["Content-Security-Policy"], h["X-Content-Type-Options"] = noPages, noSniff
	}
	vary(h)
	if w.origin != "" {
		share(h, w.origin)
	}
}
