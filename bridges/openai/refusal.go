package openai

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"modelops/messages"
)

// refusal is an error of ours on its way to a client.
type refusal struct {
	err *messages.Error
	// param names the field of the body or the header that is wrong; empty = none is.
	param string
	// anyway: net/http has ended the request's context, but the client is there: its body stopped, and it can still read why.
	anyway bool
}

// refusalOf makes a refusal of an error from the gateway or a worker.
func refusalOf(err error) *refusal {
	r := &refusal{err: messages.AsError(err)}
	if r.err.Code == messages.ModelNotFound {
		r.param = "model"
	}
	return r
}

// errorObject is OpenAI's, with src in addition: whether we failed or the engine; and log: the last lines of a worker that failed to load.
type errorObject struct {
	Message string   `json:"message"`
	Type    string   `json:"type"`
	Param   *string  `json:"param"`
	Code    string   `json:"code"`
	Src     string   `json:"src"`
	Log     []string `json:"log,omitempty"`
}

// body is the error as JSON. Anthropic's clients want a type around it, which others don't mind.
func (r *refusal) body(rt route) []byte {
	wire := r.err.Code.Wire()
	object := errorObject{Message: r.err.Error(), Type: wire.OpenAI, Code: strings.ToLower(wire.Name), Src: "modelops", Log: r.err.Log}
	if r.param != "" {
		object.Param = &r.param
	}
	envelope := struct {
		Type  string      `json:"type,omitempty"`
		Error errorObject `json:"error"`
	}{Error: object}
	if rt.anthropic {
		envelope.Type = "error"
	}
	out, err := json.Marshal(envelope)
	if err != nil {
		panic(err) // strings always marshal
	}
	return out
}

// write answers with the error. Nothing may have been written before.
func (r *refusal) write(w http.ResponseWriter, rt route) {
	wire := r.err.Code.Wire()
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Modelops-Source", "modelops")
	h.Set("X-Modelops-Code", wire.Name)
	retryHeaders(h, wire.HTTP, r.err.Retry)
	if wire.HTTP == http.StatusUnauthorized {
		h.Set("Www-Authenticate", "Bearer")
	}
	body := r.body(rt)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(wire.HTTP)
	_, _ = w.Write(body) // a client that is gone needs no answer
}

// event is the error for a stream that has begun.
func (r *refusal) event(rt route) []byte { return errorEvent(r.body(rt), rt) }

func errorEvent(body []byte, rt route) []byte {
	name := ""
	if rt.anthropic {
		name = "event: error\n"
	}
	return []byte(name + "data: " + string(body) + "\n\n")
}

// retryHeaders say when to come back. OpenAI's clients prefer retry-after-ms. A status that asks for a later try gets one second when no other time is known.
func retryHeaders(h http.Header, status int, after time.Duration) {
	if after <= 0 {
		if status != http.StatusTooManyRequests && status != http.StatusServiceUnavailable {
			return
		}
		after = time.Second
	}
	seconds, ms := messages.RetryHeaders(after)
	h.Set("Retry-After", seconds)
	h.Set("Retry-After-Ms", ms)
}

// refuseMethod answers 405, which no code of the error table stands for.
func refuseMethod(w http.ResponseWriter, r *http.Request, allow string) {
	w.Header().Set("Allow", allow)
	writePlain(w, http.StatusMethodNotAllowed, messages.InvalidArgument, "method_not_allowed", r.URL.Path+" takes "+allow+", not "+r.Method)
}

// writePlain answers with an error of the HTTP level: wrong path, wrong method.
func writePlain(w http.ResponseWriter, status int, typed messages.Code, code, message string) {
	body, err := json.Marshal(map[string]errorObject{"error": {Message: message, Type: "invalid_request_error", Code: code, Src: "modelops"}})
	if err != nil {
		panic(err) // strings always marshal
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Modelops-Source", "modelops")
	h.Set("X-Modelops-Code", typed.Wire().Name)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
