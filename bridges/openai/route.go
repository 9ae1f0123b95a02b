package openai

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// route says what differs between paths; the rest is the same for all.
type route struct {
	// anthropic clients expect another shape of error.
	anthropic bool
	// methods that are taken; none = POST only.
	methods []string
	// readers only: the answer may show other callers' requests, or the path may change the engine for all.
	readers bool

	// pattern is what the request is counted under, path what the engine is asked for, model who is named in the path; routeOf fills them.
	pattern, path, model string
}

// end is what ends the stream of a route. Anthropic's has no end mark.
func (rt route) end() []byte {
	if rt.anthropic {
		return nil
	}
	return []byte("data: [DONE]\n\n")
}

func (rt route) takes(method string) bool {
	if len(rt.methods) == 0 {
		return method == http.MethodPost
	}
	return slices.Contains(rt.methods, method)
}

func (rt route) allowed() string {
	if len(rt.methods) == 0 {
		return http.MethodPost
	}
	return strings.Join(rt.methods, ", ")
}

var (
	reads      = []string{http.MethodGet, http.MethodHead}
	readsPosts = []string{http.MethodGet, http.MethodHead, http.MethodPost}
	anyMethod  = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}
)

// passThrough lists every path whose answer comes from an engine. The model is named in the body, a form, the query or the path. A path of
// /v1 is known without it too, and each with a slash behind it.
var passThrough = map[string]route{
	"/v1/chat/completions":      {},
	"/v1/completions":           {},
	"/v1/embeddings":            {},
	"/v1/responses":             {},
	"/v1/moderations":           {},
	"/v1/edits":                 {},
	"/v1/rerank":                {},
	"/v1/reranking":             {},
	"/v1/score":                 {},
	"/v1/classify":              {},
	"/v1/pooling":               {},
	"/v1/audio/transcriptions":  {},
	"/v1/audio/translations":    {},
	"/v1/audio/speech":          {},
	"/v1/audio/voices":          {methods: reads},
	"/v1/images/generations":    {},
	"/v1/images/edits":          {},
	"/v1/images/variations":     {},
	"/v1/messages":              {anthropic: true},
	"/v1/messages/count_tokens": {anthropic: true},
	"/v1/tokenize":              {},
	"/v1/detokenize":            {},
	"/rerank":                   {},
	"/reranking":                {},
	"/tokenize":                 {},
	"/detokenize":               {},
	"/apply-template":           {},
	"/infill":                   {},
	"/completion":               {},
	"/embedding":                {},
	"/inference":                {}, // whisper.cpp's own
	"/props":                    {methods: readsPosts, readers: true},
	"/slots":                    {methods: reads, readers: true},
	"/lora-adapters":            {methods: readsPosts, readers: true},
}

const (
	upstreamRoot = "/upstream/"   // llama-swap's: any path of one model's engine
	enginesRoot  = "/v1/engines/" // a route of /v1 with the model in its path
	slotRoot     = "/slots/"      // llama-server's: one slot, by its number
)

// routeOf finds the route of a path. Most requests name one of passThrough as it is.
func (a *API) routeOf(path string) (route, bool) {
	if rt, ok := listed(path); ok {
		return rt, true
	}
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	if rest, is := strings.CutPrefix(path, upstreamRoot); is {
		model, rest := a.splitModel(rest)
		if slices.Contains(strings.Split(rest, "/"), "..") {
			return route{}, false // it would lead out of the engine's address, to another's
		}
		return route{methods: anyMethod, readers: true, pattern: upstreamRoot + "{model}", path: rest, model: model}, model != ""
	}
	if rest, is := strings.CutPrefix(path, enginesRoot); is {
		model, rest := a.splitModel(rest)
		rt, ok := passThrough["/v1"+rest]
		rt.pattern, rt.path, rt.model = enginesRoot+"{model}"+rest, "/v1"+rest, model
		return rt, ok && model != ""
	}
	if rest, is := strings.CutPrefix(path, slotRoot); is && rest != "" && !strings.Contains(rest, "/") {
		return route{methods: readsPosts, readers: true, pattern: slotRoot + "{id}", path: path}, true
	}
	for _, at := range []string{path, "/v1" + path, "/v1" + strings.TrimPrefix(path, "/v")} {
		if rt, ok := listed(at); ok {
			return rt, true
		}
	}
	return route{}, false
}

// listed is the route of a path of passThrough.
func listed(path string) (route, bool) {
	rt, ok := passThrough[path]
	rt.pattern, rt.path = path, path
	return rt, ok
}

// splitModel takes the longest name of a model from the beginning of a path, else its first segment: a model's name may hold slashes.
func (a *API) splitModel(path string) (model, rest string) {
	models := a.gateway.Models() // read once: a path may have thousands of slashes
	for end := len(path); end > 0; end = strings.LastIndexByte(path[:end], '/') {
		if modelNamed(models, path[:end]) != nil {
			return path[:end], path[end:]
		}
	}
	model, rest, _ = strings.Cut(path, "/")
	return model, "/" + rest
}

// target is the path and query that the engine is asked for; the query names the model as the engine knows it.
func (x *exchange) target(upstream string) *url.URL {
	u := url.URL{Path: x.rt.path, RawQuery: x.r.URL.RawQuery}
	if u.RawQuery == "" {
		return &u
	}
	if q := u.Query(); q.Has("model") {
		q.Set("model", upstream)
		u.RawQuery = q.Encode()
	}
	return &u
}
