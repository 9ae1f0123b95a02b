package engine

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"time"
)

// fingerprint is what answers carry as system_fingerprint and /props as build_info.
const fingerprint = "modelops-engine"

// maxBody is the largest request body, in bytes.
const maxBody = 8 << 20

// server answers llama-server's protocol. Until open it refuses everything with 503.
type server struct {
	opt      Options
	started  time.Time
	progress atomic.Uint64 // float64 bits, 0..1
	engine   atomic.Pointer[opened]
	routes   map[string]route
}

// opened is what exists once the model is loaded.
type opened struct {
	model       *Model
	runner      *runner
	template    *chatTemplate
	templateErr error // why there is no template
}

type route struct {
	method string
	handle func(e *opened, w http.ResponseWriter, r *http.Request) error
}

func newServer(o Options) *server {
	s := &server{opt: o, started: time.Now()}
	get := func(h func(*opened, http.ResponseWriter, *http.Request) error) route { return route{http.MethodGet, h} }
	post := func(h func(*opened, http.ResponseWriter, *http.Request) error) route {
		return route{http.MethodPost, h}
	}
	s.routes = map[string]route{
		"/health": get(s.health), "/v1/health": get(s.health),
		"/models": get(s.models), "/v1/models": get(s.models),
		"/props": get(s.props), "/slots": get(s.slots), "/metrics": get(s.metrics),
		"/completion": post(s.completion), "/completions": post(s.completion),
		"/v1/completions":   post(s.oaiCompletion),
		"/chat/completions": post(s.chat), "/v1/chat/completions": post(s.chat),
		"/embedding": post(s.embeddingPlain), "/embeddings": post(s.embeddingPlain),
		"/v1/embeddings": post(s.embedding),
		"/tokenize":      post(s.tokenize), "/detokenize": post(s.detokenize),
		"/apply-template": post(s.applyTemplate),
	}
	return s
}

func (s *server) setProgress(p float64) { s.progress.Store(math.Float64bits(p)) }

// open lets requests in.
func (s *server) open(m *Model) {
	e := &opened{model: m, runner: newRunner(m, s.opt)}
	text := m.Template
	if text == "" {
		text = chatML
	}
	if e.template, e.templateErr = parseTemplate(text); e.templateErr != nil {
		s.opt.Logger.Warn("the chat template can't be used: chats will be refused", "error", e.templateErr)
	}
	s.engine.Store(e)
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e := s.engine.Load()
	if e == nil {
		s.loading(w)
		return
	}
	rt, ok := s.routes[r.URL.Path]
	if !ok {
		writeError(w, &apiError{code: http.StatusNotFound, kind: "not_found_error", message: "File Not Found"})
		return
	}
	if r.Method != rt.method && !(rt.method == http.MethodGet && r.Method == http.MethodHead) {
		w.Header().Set("Allow", rt.method)
		writeError(w, &apiError{code: http.StatusMethodNotAllowed, kind: "invalid_request_error",
			message: fmt.Sprintf("%s %s is not allowed, use %s", r.Method, r.URL.Path, rt.method)})
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := rt.handle(e, w, r); err != nil {
		failure := asAPIError(err)
		s.log(r, failure)
		writeError(w, failure)
	}
}

// log tells of a refused request. The message of a refusal may quote the request, so only our own failures show theirs.
func (s *server) log(r *http.Request, e *apiError) {
	if e.code == http.StatusInternalServerError {
		s.opt.Logger.Error("request failed", "path", r.URL.Path, "error", e.message)
		return
	}
	s.opt.Logger.Debug("request refused", "path", r.URL.Path, "code", e.code, "type", e.kind)
}

func (s *server) loading(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	writeJSON(w, http.StatusServiceUnavailable, map[string]any{
		"error":    map[string]any{"code": 503, "message": "Loading model", "type": "unavailable_error"},
		"progress": math.Round(1000*math.Float64frombits(s.progress.Load())) / 1000,
	})
}

// apiError is an answer in llama-server's error shape.
type apiError struct {
	code    int
	kind    string
	message string
	extra   map[string]any
}

func (e *apiError) Error() string { return e.message }

func (e *apiError) body() map[string]any {
	fields := map[string]any{"code": e.code, "message": e.message, "type": e.kind}
	for k, v := range e.extra {
		fields[k] = v
	}
	return map[string]any{"error": fields}
}

func invalid(format string, args ...any) error {
	return &apiError{code: http.StatusBadRequest, kind: "invalid_request_error", message: fmt.Sprintf(format, args...)}
}

func unsupported(format string, args ...any) error {
	return &apiError{code: http.StatusNotImplemented, kind: "not_supported_error", message: fmt.Sprintf(format, args...)}
}

func asAPIError(err error) *apiError {
	var known *apiError
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, errQueueFull):
		return &apiError{code: http.StatusServiceUnavailable, kind: "unavailable_error", message: err.Error()}
	case errors.Is(err, context.Canceled):
		// The client has gone and won't read this, or the server stops and the client should know.
		return &apiError{code: http.StatusServiceUnavailable, kind: "unavailable_error", message: "the request was cut off: the server is stopping"}
	}
	return &apiError{code: http.StatusInternalServerError, kind: "server_error", message: err.Error()}
}

func writeError(w http.ResponseWriter, e *apiError) {
	if e.code == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, e.code, e.body())
}

// encode writes JSON as llama-server does: without HTML escapes and without a newline at the end.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	b, err := encode(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write(b) // an error means that the client has gone
}

// answer writes a successful response.
func answer(w http.ResponseWriter, v any) error {
	writeJSON(w, http.StatusOK, v)
	return nil
}

// decode reads a JSON body; what does not fit is a 400 that names the field.
func decode(r *http.Request, v any) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return &apiError{code: http.StatusRequestEntityTooLarge, kind: "invalid_request_error",
				message: fmt.Sprintf("the request body is larger than %d bytes", large.Limit)}
		}
		return invalid("the request body could not be read: %v", err)
	}
	err = json.Unmarshal(body, v)
	var mismatch *json.UnmarshalTypeError
	if errors.As(err, &mismatch) && mismatch.Field != "" {
		field := mismatch.Field[strings.LastIndexByte(mismatch.Field, '.')+1:]
		return invalid("%q must be %s, not a JSON %s", field, jsonKind(mismatch.Type), mismatch.Value)
	}
	if err != nil {
		return invalid("the request is not a valid JSON object: %v", err)
	}
	return nil
}

func jsonKind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "a boolean"
	case reflect.String:
		return "a string"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Float64:
		return "a number"
	}
	return "a whole number"
}

func newID() string { return "chatcmpl-" + rand.Text() }
