package runtime

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"modelops/messages"
)

// complaint is an error body of OpenAI's form; FastAPI servers write detail instead.
type complaint struct {
	Message string `json:"message"`
	Type    string `json:"type"`
	Code    any    `json:"code"`
}

// parseComplaint reads {"error": {...}}, {"error": "..."} and {"detail": ...}; any other body speaks for itself.
func parseComplaint(body []byte) complaint {
	var in struct {
		Error  json.RawMessage `json:"error"`
		Detail json.RawMessage `json:"detail"`
	}
	_ = json.Unmarshal(body, &in)
	switch {
	case len(in.Error) > 0:
		return parseError(in.Error)
	case len(in.Detail) > 0:
		return parseError(in.Detail)
	}
	return complaint{Message: clip(strings.TrimSpace(strings.ToValidUTF8(string(body), "?")))}
}

func parseError(raw json.RawMessage) complaint {
	var c complaint
	if json.Unmarshal(raw, &c) == nil && c.Message != "" {
		c.Message = clip(c.Message)
		return c
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		text = string(raw)
	}
	return complaint{Message: clip(text), Type: c.Type, Code: c.Code}
}

// tooLong: llama-server names it by type, OpenAI and its followers by code.
func (c complaint) tooLong() bool {
	return c.Type == "exceed_context_size_error" || c.Code == "context_length_exceeded" ||
		strings.Contains(c.Message, "maximum context length")
}

// refusal tells what an answer that isn't 200 means here. What the engine refuses says nothing against it.
func refusal(g *messages.Grant, res *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	c := parseComplaint(body)
	typed := refusalWords(g, res, c).WithSaid(c.Message)
	if s := res.StatusCode; s >= 400 && s < 500 || s == http.StatusNotImplemented {
		return &messages.Refused{Err: typed}
	}
	return typed
}

func refusalWords(g *messages.Grant, res *http.Response, c complaint) *messages.Error {
	about := "model/" + g.Model
	said := c.Message
	if said == "" {
		said = http.StatusText(res.StatusCode)
	}
	worker := func(code messages.Code) *messages.Error {
		return messages.NewError(code, about, fmt.Sprintf("the worker answered %d: %s", res.StatusCode, said))
	}
	switch s := res.StatusCode; {
	case c.tooLong():
		return messages.NewError(messages.ContextTooLong, about, said).WithHint("shorten the prompt or raise context_length of the model")
	case s == http.StatusBadRequest, s == http.StatusUnprocessableEntity:
		return messages.NewError(messages.InvalidArgument, about, said)
	case s == http.StatusRequestEntityTooLarge:
		return messages.NewError(messages.PayloadTooLarge, about, said)
	case s == http.StatusNotImplemented:
		return messages.NewError(messages.Unsupported, about, said)
	case s == http.StatusUnauthorized, s == http.StatusForbidden:
		return worker(messages.InferenceError).WithHint("check the variable that api_key_env of the model names")
	case s == http.StatusNotFound:
		return worker(messages.InferenceError).WithHint("check url and useModelName of the model")
	case s == http.StatusTooManyRequests:
		return worker(messages.BulkheadRejection).WithRetry(retryAfter(res))
	case s == http.StatusServiceUnavailable:
		return worker(messages.Unavailable).WithRetry(retryAfter(res))
	}
	return worker(messages.InferenceError).WithHint("see modelops logs " + g.Model)
}

// retryAfter is the worker's own word, within reason; a second without one.
func retryAfter(res *http.Response) time.Duration {
	if n, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && n > 0 {
		return time.Duration(min(n, 3600)) * time.Second
	}
	return time.Second
}

// errorIn is the error in an event that is one: the object itself, or the value of its member error.
func errorIn(data []byte) json.RawMessage {
	var in struct {
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(data, &in) == nil && len(in.Error) > 0 {
		return in.Error
	}
	if json.Valid(data) {
		return data
	}
	text, _ := json.Marshal(string(data)) // strings always marshal
	return text
}

// streamFailure is an error that an engine sent in the middle of a stream. One that speaks of the request says nothing against the worker.
func streamFailure(raw json.RawMessage) error {
	c := parseError(raw)
	if c.tooLong() {
		return &messages.Refused{Err: messages.NewError(messages.ContextTooLong, "", c.Message).WithSaid(c.Message)}
	}
	if code, ok := c.Code.(float64); ok && code >= 400 && code < 500 || c.Type == "invalid_request_error" {
		return &messages.Refused{Err: messages.NewError(messages.InvalidArgument, "", c.Message).WithSaid(c.Message)}
	}
	return messages.NewError(messages.InferenceError, "", "the worker failed: "+c.Message).WithSaid(c.Message)
}
