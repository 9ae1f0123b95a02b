package rest

import (
	"net/http"
	"slices"
	"strings"

	"modelops/messages"
)

var (
	varyOrigin = []string{"Origin"}
	// exposed are the headers of answers that pages may read. Browsers show the plain ones, such as Content-Type, without.
	exposed = []string{strings.Join([]string{
		messages.HostHeader, "X-Modelops-Code", "X-Modelops-Source", "X-Modelops-Batch", "X-Modelops-Queue-Position", "X-Modelops-Queue-Expected-Ms", "X-Modelops-Queue-Ms",
		"X-Request-Id", "Retry-After", "Retry-After-Ms", "Server-Timing", "Www-Authenticate", "Allow", "Content-Length",
	}, ", ")}
	methodsOfPages = "GET, HEAD, POST, PUT, PATCH, DELETE"
	// sentByPages are the headers of requests that pages may set, and the beginnings of those that the SDKs of OpenAI and Anthropic send.
	sentByPages = []string{"authorization", "content-type", "accept", "accept-language", "content-language", "x-api-key", "api-key", "x-request-id", "x-request-timeout",
		"idempotency-key", "x-idempotency-key", "user-agent", "x-requested-with", "traceparent", "tracestate", "cache-control", "last-event-id", "openrouter-title", "http-referer", "x-title"}
	sentByLibraries = []string{"x-stainless-", "openai-", "anthropic-", "x-modelops-"}
)

// preflight tells whether a browser asks for a page of another origin what it may send.
func preflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// answerPreflight says what a listed page may send; no key comes with the question. A page that isn't listed is told nothing.
func answerPreflight(w http.ResponseWriter, r *http.Request, page relation) {
	h := w.Header()
	h["Vary"] = []string{"Origin, Access-Control-Request-Method, Access-Control-Request-Headers, Access-Control-Request-Private-Network"}
	if page == foreign {
		writeTyped(w, messages.Errorf(messages.PermissionDenied, "Origin", "a page of %.100q may not call this host", r.Header.Get("Origin")).WithHint("add it to server.cors.origins"))
		return
	}
	h.Set("Access-Control-Allow-Methods", methodsOfPages)
	if names := mayBeSent(r.Header.Values("Access-Control-Request-Headers")); names != "" {
		h.Set("Access-Control-Allow-Headers", names)
	}
	if r.Header.Get("Access-Control-Request-Private-Network") == "true" {
		h.Set("Access-Control-Allow-Private-Network", "true")
	}
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}

// mayBeSent are those of the headers that a page wants to send which it may. The token of our own pages isn't one of them.
func mayBeSent(asked []string) string {
	var out []string
	for name := range strings.SplitSeq(strings.Join(asked, ","), ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		prefixed := slices.ContainsFunc(sentByLibraries, func(p string) bool { return strings.HasPrefix(name, p) })
		if len(out) < 100 && (prefixed || slices.Contains(sentByPages, name)) && name != strings.ToLower(tokenHeader) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return strings.Join(out, ", ")
}

// share lets the page of a listed origin read the answer. Keys travel in headers that the page sets itself, so that no answer is ever shared with
// the browser's own credentials.
func share(h http.Header, origin string) {
	h["Access-Control-Allow-Origin"] = []string{origin}
	h["Access-Control-Expose-Headers"] = exposed
}

// vary tells caches that the answer depends on the page. The engine may have said what else it depends on.
func vary(h http.Header) {
	switch had := h["Vary"]; {
	case len(had) == 0:
		h["Vary"] = varyOrigin
	case !strings.Contains(strings.Join(had, ","), "Origin"):
		h["Vary"] = append(slices.Clone(had), "Origin")
	}
}
