package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"modelops/messages"
)

// engine is a worker that answers as told and keeps what it was asked.
type engine struct {
	*httptest.Server
	path, key string
	body      map[string]any
}

func newEngine(t *testing.T, answer http.HandlerFunc) *engine {
	t.Helper()
	e := &engine{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.path, e.key, e.body = r.URL.Path, r.Header.Get("Authorization"), nil
		if err := json.NewDecoder(r.Body).Decode(&e.body); err != nil {
			t.Error(err)
		}
		answer(w, r)
	}))
	t.Cleanup(e.Close)
	return e
}

func says(status int, kind, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

const chatStream = `: a comment

data: {"choices":[{"index":0,"delta":{"role":"assistant","content":null}}]}

data: {"choices":[{"index":0,"delta":{"content":"Good"}}]}

data: {"choices":[{"index":0,"delta":{"content":" day"},"finish_reason":null}]}

data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}

data: [DONE]

`

func (e *engine) grant() *messages.Grant {
	return &messages.Grant{Model: "tiny", Upstream: "up", URL: e.URL, Queued: 5 * time.Millisecond}
}

func newClient(t *testing.T) *Client {
	c := NewClient()
	t.Cleanup(c.Close)
	return c
}

func TestRunStreams(t *testing.T) {
	e := newEngine(t, says(200, "text/event-stream", chatStream))
	g := e.grant()
	g.APIKey = "k"
	var got []string
	req := &messages.InferenceRequest{ModelName: "alias", Prompt: "Hi", RequestId: "r1", Stop: []string{"x"},
		Parameters: map[string]string{"top_p": "0.5", "grammar": "root ::= x", "logit_bias": `{"1": 2}`}}
	res, err := newClient(t).Run(t.Context(), g, req, func(c *messages.InferenceChunk) error {
		got = append(got, fmt.Sprintf("%s %d %q", c.RequestId, c.Index, c.Text))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := `r1 0 "Good",r1 1 " day"`; strings.Join(got, ",") != want {
		t.Errorf("%s, want %s", got, want)
	}
	if res.InferenceTimeMs <= 0 {
		t.Error("it took no time")
	}
	res.InferenceTimeMs = 0
	want := &messages.InferenceResponse{ResponseText: "Good day", TokensGenerated: 2, PromptTokens: 7, Status: "success",
		RequestId: "r1", FinishReason: "stop", ModelName: "tiny", QueuedMs: 5}
	if !proto.Equal(res, want) {
		t.Errorf("%v, want %v", res, want)
	}
	if e.path != "/v1/chat/completions" || e.key != "Bearer k" {
		t.Error(e.path, e.key)
	}
	expectJSON(t, e.body, `{"model":"up","stream":true,"stream_options":{"include_usage":true},"max_tokens":100,"temperature":0.7,
		"messages":[{"role":"user","content":"Hi"}],"top_p":0.5,"grammar":"root ::= x","logit_bias":{"1":2},"stop":["x"]}`)
}

func expectJSON(t *testing.T, got map[string]any, want string) {
	t.Helper()
	var w map[string]any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(w)
	if string(a) != string(b) {
		t.Errorf("asked for\n%s, want\n%s", a, b)
	}
}

func TestRequestBodies(t *testing.T) {
	fixed := `"model":"up","stream":true,"stream_options":{"include_usage":true}`
	turn := `"messages":[{"role":"user","content":""}]`
	tests := map[string]struct {
		request *messages.InferenceRequest
		want    string
	}{
		"greedy":                {&messages.InferenceRequest{Temperature: proto.Float32(0), MaxTokens: 5}, `"temperature":0,"max_tokens":5,` + turn},
		"parameters":            {&messages.InferenceRequest{Parameters: map[string]string{"max_tokens": "9", "temperature": "1"}}, `"temperature":1,"max_tokens":9,` + turn},
		"fields before":         {&messages.InferenceRequest{MaxTokens: 5, Parameters: map[string]string{"max_tokens": "9"}}, `"temperature":0.7,"max_tokens":5,` + turn},
		"conversation":          {&messages.InferenceRequest{Prompt: "no", Messages: []*messages.ChatMessage{{Role: "system", Content: "s"}, {Role: "user", Content: "u"}}}, `"temperature":0.7,"max_tokens":100,"messages":[{"role":"system","content":"s"},{"role":"user","content":"u"}]`},
		"raw goes without turn": {&messages.InferenceRequest{Raw: true, Prompt: "p"}, `"temperature":0.7,"max_tokens":100,"prompt":"p"`},
	}
	for name, c := range tests {
		_, body, err := requestBody(&messages.Grant{Model: "m", Upstream: "up"}, c.request, true)
		if err != nil {
			t.Fatal(name, err)
		}
		var got map[string]any
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) { expectJSON(t, got, "{"+fixed+","+c.want+"}") })
	}
	for _, bad := range []*messages.InferenceRequest{
		{MaxTokens: -1}, {Parameters: map[string]string{"stream": "false"}}, {Parameters: map[string]string{"model": "x"}}, {Parameters: map[string]string{"n": "2"}},
	} {
		if _, _, err := requestBody(&messages.Grant{}, bad, true); messages.CodeOf(err) != messages.InvalidArgument {
			t.Error(bad, err)
		}
	}
}

func TestRunOtherAnswers(t *testing.T) {
	tests := map[string]struct{ kind, body, text, finish string }{
		"completions":      {"text/event-stream", "data: {\"choices\":[{\"text\":\"a\",\"index\":0}]}\n\ndata: {\"choices\":[{\"text\":\"b\",\"index\":0,\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n", "ab", "length"},
		"no word of end":   {"text/event-stream", "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\n", "a", "stop"},
		"CRLF, no space":   {"text/event-stream; charset=utf-8", "data:{\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\r\n\r\ndata:[DONE]\r\n\r\n", "a", ""},
		"whole":            {"application/json", `{"choices":[{"message":{"content":"abc"},"finish_reason":"stop"}]}`, "abc", "stop"},
		"only the first n": {"text/event-stream", "data: {\"choices\":[{\"index\":1,\"text\":\"no\"},{\"index\":0,\"text\":\"yes\"}]}\n\ndata: [DONE]\n\n", "yes", ""},
	}
	for name, c := range tests {
		e := newEngine(t, says(200, c.kind, c.body))
		res, err := newClient(t).Run(t.Context(), e.grant(), &messages.InferenceRequest{}, nil)
		if err != nil || res.ResponseText != c.text || res.FinishReason != c.finish {
			t.Errorf("%s: %v %v", name, res, err)
		}
	}
}

// unanswered tells that no byte of an answer came.
func unanswered(err error) bool { return errors.As(err, new(*messages.Unanswered)) }

func TestRefusals(t *testing.T) {
	const stream = "text/event-stream"
	tests := map[string]struct {
		status int
		kind   string
		body   string
		code   messages.Code
		before bool
		says   string
	}{
		"bad question":       {400, "application/json", `{"error":{"code":400,"message":"Expected 'messages'","type":"invalid_request_error"}}`, messages.InvalidArgument, false, "Expected 'messages'"},
		"too long, llama":    {400, "application/json", `{"error":{"code":400,"message":"exceeds","type":"exceed_context_size_error"}}`, messages.ContextTooLong, false, "exceeds"},
		"too long, openai":   {400, "application/json", `{"error":{"code":"context_length_exceeded","message":"x"}}`, messages.ContextTooLong, false, "x"},
		"validation":         {422, "application/json", `{"detail":[{"msg":"field required"}]}`, messages.InvalidArgument, false, "field required"},
		"loading":            {503, "application/json", `{"error":{"message":"Loading model","type":"unavailable_error"}}`, messages.Unavailable, false, "Loading model"},
		"busy":               {429, "text/plain", `slow down`, messages.BulkheadRejection, false, "slow down"},
		"key":                {401, "application/json", `{"error":"no"}`, messages.InferenceError, false, "401"},
		"unknown there":      {404, "text/plain", ``, messages.InferenceError, false, "Not Found"},
		"not spoken":         {501, "application/json", `{"error":{"message":"no embeddings"}}`, messages.Unsupported, false, "no embeddings"},
		"crash":              {500, "text/plain", "\xff", messages.InferenceError, false, "500"},
		"redirect":           {302, "text/plain", ``, messages.InferenceError, false, "302"},
		"error in a stream":  {200, stream, "data: {\"choices\":[{\"text\":\"a\"}]}\n\ndata: {\"error\":{\"message\":\"oom\"}}\n\n", messages.InferenceError, false, "oom"},
		"too long in stream": {200, stream, "data: {\"error\":{\"message\":\"no\",\"type\":\"exceed_context_size_error\"}}\n\n", messages.ContextTooLong, false, "no"},
		"no JSON":            {200, stream, "data: {\n\n", messages.InferenceError, false, "JSON"},
		"error line":         {200, stream, "data: {\"choices\":[{\"text\":\"a\"}]}\n\nerror: {\"code\":400,\"message\":\"the context is full\"}\n\ndata: [DONE]\n\n", messages.InvalidArgument, false, "the context is full"},
		"error in plain":     {200, stream, "error: out of memory\n\n", messages.InferenceError, false, "out of memory"},
		"error event":        {200, stream, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}\n\n", messages.InferenceError, false, "busy"},
		"nothing":            {200, stream, "", messages.InferenceError, false, "after 0 pieces"},
	}
	for name, c := range tests {
		e := newEngine(t, says(c.status, c.kind, c.body))
		client := newClient(t)
		_, err := client.Run(t.Context(), e.grant(), &messages.InferenceRequest{}, nil)
		if messages.CodeOf(err) != c.code || unanswered(err) != c.before || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v %v, before %v", name, messages.CodeOf(err), err, unanswered(err))
		}
	}
}

// What engines' streams leave out or add changes nothing for the caller.
func TestDialectsOfStreams(t *testing.T) {
	for name, c := range map[string]struct{ body, text, note string }{
		"no space, empty data": {"data:{\"choices\":[{\"delta\":{\"content\":\"ns\"}}]}\n\ndata:\n\n: c\n\ndata: \n\ndata:[DONE]\n\n", "ns", ""},
		"no [DONE]":            {"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n", "a", ""},
		"no last empty line":   {"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}", "a", ""},
		"only reasoning": {"data: {\"choices\":[{\"delta\":{\"content\":null,\"reasoning_content\":\"hm\"}}]}\n\ndata: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n",
			"", "the model gave only its reasoning and no answer: raise max_tokens, or turn its reasoning off"},
		"reasoning first": {"data: {\"choices\":[{\"delta\":{\"reasoning\":\"hm\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\n", "a", ""},
		"parts":           {"data: {\"choices\":[{\"delta\":{\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]}}]}\n\n", "ab", ""},
	} {
		e := newEngine(t, says(200, "text/event-stream", c.body))
		got := ""
		res, err := newClient(t).Run(t.Context(), e.grant(), &messages.InferenceRequest{}, func(p *messages.InferenceChunk) error { got += p.Text; return nil })
		if err != nil || res.ResponseText != c.text || got != c.text || res.ErrorMessage != c.note {
			t.Errorf("%s: %q, %v, %v", name, got, res, err)
		}
	}
}

// A stream whose connection breaks isn't whole, however its last event looks.
func TestACutStreamIsNotWhole(t *testing.T) {
	e := newEngine(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: {\"choices\":[{\"text\":\"a\"}]}\n\n")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	_, err := newClient(t).Run(t.Context(), e.grant(), &messages.InferenceRequest{}, nil)
	if messages.CodeOf(err) != messages.InferenceError || unanswered(err) || !strings.Contains(err.Error(), "after 1 pieces") {
		t.Error(err)
	}
}

func TestNothingAnswersAtTheWorkersAddress(t *testing.T) {
	l, port := listen(t)
	l.Close()
	_, err := newClient(t).Run(t.Context(), &messages.Grant{Model: "m", URL: "http://127.0.0.1:" + port}, &messages.InferenceRequest{}, nil)
	if messages.CodeOf(err) != messages.Unavailable || !unanswered(err) {
		t.Fatal(err)
	}
}

// S12: whichever side leaves, the engine is told.
func TestS12TheEngineIsToldOfTheEnd(t *testing.T) {
	entered, left := make(chan struct{}, 99), make(chan struct{}, 99)
	e := newEngine(t, func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		if r.URL.Path != "/v1/completions" {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n")
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
		left <- struct{}{}
	})
	client := newClient(t)
	expect := func(name string, err error, code messages.Code) {
		t.Helper()
		if messages.CodeOf(err) != code || unanswered(err) {
			t.Errorf("%s: %v", name, err)
		}
		<-entered
		<-left
	}
	_, err := client.Run(t.Context(), e.grant(), &messages.InferenceRequest{}, func(*messages.InferenceChunk) error { return errors.New("gone") })
	expect("emit refuses", err, messages.Cancelled)

	ctx, cancel := context.WithCancel(t.Context())
	_, err = client.Run(ctx, e.grant(), &messages.InferenceRequest{}, func(*messages.InferenceChunk) error { cancel(); return nil })
	expect("the caller leaves", err, messages.Cancelled)

	// On a busy machine the deadline may pass before the engine is asked: then it is too short for this test.
	for deadline := 50 * time.Millisecond; len(entered) == 0 && deadline < hangLimit; deadline *= 2 {
		ctx, cancel = context.WithTimeout(t.Context(), deadline)
		_, err = client.Run(ctx, e.grant(), &messages.InferenceRequest{Raw: true}, nil)
		cancel()
	}
	expect("the deadline passes before an answer", err, messages.DeadlineExceeded)
}

// llama-server closes the connection after a stream, and its answer doesn't say so. A request that follows at once arrives all the same.
func TestNoRequestFollowsAStreamOnItsConnection(t *testing.T) {
	e := newEngine(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n%s", len(chatStream), chatStream)
		_, _ = buffered.ReadByte() // closed when the next request comes, or the client has closed it
	})
	client := newClient(t)
	for n := range 3 {
		if _, err := client.Run(t.Context(), e.grant(), &messages.InferenceRequest{}, func(*messages.InferenceChunk) error { return nil }); err != nil {
			t.Fatalf("request %d: %v", n, err)
		}
	}
}

func TestConnectionsAreKeptAndForgotten(t *testing.T) {
	seen := map[string]bool{}
	e := newEngine(t, func(w http.ResponseWriter, r *http.Request) {
		seen[r.RemoteAddr] = true
		says(200, "text/event-stream", chatStream)(w, r)
	})
	client := newClient(t)
	run := func() {
		if _, err := client.Run(t.Context(), e.grant(), &messages.InferenceRequest{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		run()
	}
	if len(seen) != 1 {
		t.Errorf("%d connections for 5 requests", len(seen))
	}
	client.Close()
	run()
	if len(seen) != 2 {
		t.Errorf("%d connections after its idle ones were closed", len(seen))
	}
}

// The wait for a place at the host of a far worker is told with the answer.
func TestQueuedAtAnotherHost(t *testing.T) {
	e := newEngine(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(messages.QueueMsHeader, "1500")
		w.Header().Set(messages.QueuePositionHeader, "2")
		says(200, "text/event-stream", chatStream)(w, r)
	})
	g := e.grant()
	g.Host = "pc2"
	var arrival messages.Arrival
	res, err := newClient(t).Run(messages.WithCaller(t.Context(), messages.Caller{OnQueued: arrival.Told}), g, &messages.InferenceRequest{Prompt: "Hi"}, nil)
	if arrival.Note(res); err != nil || res.QueuedMs != 1505 || res.QueuePosition != 2 {
		t.Errorf("%v, %v", res, err)
	}
}
