package runtime

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"time"

	"modelops/messages"
)

// Client carries requests to workers, in the words of OpenAI's API. Close it to end its idle connections.
type Client struct {
	transport *http.Transport // of all workers: a dead one's connections are closed by its end, and nothing of it stays
}

// idlePerWorker is how many connections to one worker wait for the next request.
const idlePerWorker = 256

// NewClient makes a Client. It opens nothing until it is asked to run.
func NewClient() *Client {
	return &Client{&http.Transport{
		DialContext:         dialEither,
		Proxy:               http.ProxyFromEnvironment, // never for loopback
		MaxIdleConnsPerHost: idlePerWorker, IdleConnTimeout: 90 * time.Second, DisableCompression: true, TLSHandshakeTimeout: 10 * time.Second,
	}}
}

// DialWith has dial make the client's connections from now on. It is called before the first request.
func (c *Client) DialWith(dial func(ctx context.Context, network, address string) (net.Conn, error)) {
	c.transport.DialContext = dial
}

// Forward has requests to workers of other hosts, at addresses of messages.PeerURL, go through far. It is called before the first request.
func (c *Client) Forward(far http.RoundTripper) {
	c.transport.RegisterProtocol(messages.PeerScheme, far)
}

// Close ends the idle connections.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Run runs one request at a granted worker. emit gets each piece of text in order, from this goroutine; without it the engine is asked
// for the answer in one piece.
// When ctx ends or emit refuses, the connection is closed and with it the engine's work. Errors are typed:
// InvalidArgument and ContextTooLong for what the engine refuses, Unavailable when it can't be reached or can't yet, InferenceError when the
// worker is to blame, Cancelled and DeadlineExceeded for the end of ctx. Those of a request without a byte of an answer are messages.Unanswered,
// and refusals that say nothing against the worker messages.Refused. It doesn't release the grant.
func (c *Client) Run(ctx context.Context, g *messages.Grant, r *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
	began := time.Now()
	path, body, err := requestBody(g, r, emit != nil)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // whatever ends the request, the engine is told by the closing of its connection
	got := false
	trace := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { got = true }})
	res, err := c.send(trace, g, path, body, emit != nil)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil, messages.AsError(context.Cause(ctx))
	default:
		return nil, messages.NotAnswered(g.Model, got, err)
	}
	defer res.Body.Close()
	if told := messages.CallerFrom(ctx).OnQueued; g.QueuedThere(res.Header) && told != nil {
		told(messages.QueuePlace{Position: g.Position, Waited: g.Queued, Expected: g.Expected})
	}
	unpack(res)
	if res.StatusCode != http.StatusOK {
		return nil, refusal(g, res)
	}
	a := &collected{grant: g, request: r, emit: emit}
	err = a.read(res)
	if err == nil {
		err = a.pass(a.letters.rest())
	}
	if err != nil {
		return nil, a.failure(ctx, err)
	}
	return a.response(began), nil
}

func (c *Client) send(ctx context.Context, g *messages.Grant, path string, body []byte, stream bool) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if stream {
		req.Header.Set("Accept", "text/event-stream")
		req.Close = true // llama-server closes a connection after a stream without saying so: a request that follows at once would be lost on it
	}
	if g.APIKey != "" {
		req.Header.Set("Authorization", "Bearer "+g.APIKey)
	}
	return c.transport.RoundTrip(req)
}

// unpack has an answer read without its compression, which some servers and proxies use unasked.
func unpack(res *http.Response) {
	plain, as := messages.Unpacked(res.Header.Get("Content-Encoding"), res.Body, maxAnswer)
	if !as {
		res.Body = struct {
			io.Reader
			io.Closer
		}{plain, res.Body}
	}
}

// collected is an answer as it comes.
type collected struct {
	grant   *messages.Grant
	request *messages.InferenceRequest
	emit    func(*messages.InferenceChunk) error

	letters  joiner
	text     strings.Builder
	chunks   int32
	finish   string
	usage    *usage
	messages int  // of the engine, with or without text
	reasoned int  // bytes of reasoning, which is no part of the answer
	finished bool // the engine said [DONE]
	whole    bool // the answer came in one piece, which says nothing of its tokens
}

// errEmit marks that the caller, not the worker, ended the answer.
type errEmit struct{ cause error }

func (e errEmit) Error() string { return "the caller stopped reading: " + e.cause.Error() }
func (e errEmit) Unwrap() error { return e.cause }

func (a *collected) read(res *http.Response) error {
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if kind == "application/json" { // an engine that doesn't stream
		b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
		if err != nil {
			return err
		}
		a.whole = true
		return a.take(b)
	}
	events := newEventReader(res.Body)
	for !a.finished {
		e, err := events.next()
		switch {
		case errors.Is(err, io.EOF) && (a.finish != "" || a.messages > 0 && framed(res)):
			return nil // complete, only without the word of parting
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		case e.failed:
			return streamFailure(errorIn(e.data))
		case string(e.data) == "[DONE]":
			a.finished = true
			continue
		}
		if err := a.take(e.data); err != nil {
			return err
		}
	}
	return nil
}

// framed tells whether a body has an end of its own, so that one which was cut off doesn't look whole.
func framed(res *http.Response) bool { return res.ContentLength >= 0 || len(res.TransferEncoding) > 0 }

// take reads one message of the engine and passes its text on.
func (a *collected) take(data []byte) error {
	m, err := parseMessage(data)
	if err != nil {
		return err
	}
	a.grant.Heard(time.Now())
	a.messages++
	a.reasoned += m.reasoned
	if m.usage != nil {
		a.usage = m.usage
	}
	if m.finish != "" {
		a.finish = m.finish
	}
	return a.pass(a.letters.add(m.text))
}

// pass gives the caller a piece of text.
func (a *collected) pass(text string) error {
	if text == "" {
		return nil
	}
	a.text.WriteString(text)
	chunk := &messages.InferenceChunk{RequestId: a.request.RequestId, Index: a.chunks, Text: text}
	a.chunks++
	if a.emit == nil {
		return nil
	}
	if err := a.emit(chunk); err != nil {
		return errEmit{err}
	}
	return nil
}

func (a *collected) response(began time.Time) *messages.InferenceResponse {
	out := &messages.InferenceResponse{
		ResponseText: a.text.String(), Status: "success", RequestId: a.request.RequestId, ModelName: a.grant.Model,
		FinishReason: a.finish, TokensGenerated: a.chunks, // an engine that doesn't count sends about a token a piece
		InferenceTimeMs: float32(time.Since(began).Seconds() * 1000),
		QueuedMs:        float32(a.grant.Queued.Seconds() * 1000),
	}
	if a.whole {
		out.TokensGenerated = 0
	}
	if a.text.Len() == 0 && a.reasoned > 0 {
		out.ErrorMessage = "the model gave only its reasoning and no answer: raise max_tokens, or turn its reasoning off"
	}
	if a.usage != nil {
		out.TokensGenerated, out.PromptTokens = a.usage.Completion, a.usage.Prompt
	}
	return out
}

// failure tells what ended an answer that had begun.
func (a *collected) failure(ctx context.Context, err error) error {
	var quit errEmit
	if errors.As(err, &quit) {
		var typed *messages.Error
		if errors.As(quit.cause, &typed) {
			return typed
		}
		return messages.NewError(messages.Cancelled, "model/"+a.grant.Model, quit.Error()).WithCause(quit.cause)
	}
	if ctx.Err() != nil {
		return messages.AsError(context.Cause(ctx))
	}
	var typed *messages.Error
	if errors.As(err, &typed) {
		e := *typed
		e.Subject = "model/" + a.grant.Model
		if refused := (*messages.Refused)(nil); errors.As(err, &refused) {
			return &messages.Refused{Err: &e}
		}
		return &e
	}
	return messages.Errorf(messages.InferenceError, "model/"+a.grant.Model, "the worker broke off after %d pieces of its answer: %w", a.chunks, err).
		WithHint("see modelops logs " + a.grant.Model)
}
