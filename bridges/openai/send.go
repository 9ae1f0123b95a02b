package openai

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"syscall"
	"time"

	"modelops/messages"
)

// unsent is why no answer came from a worker.
type unsent struct {
	err error
	// connected is false when there was no connection at all.
	connected bool
	// again: the worker can't have begun to answer, so another may be asked.
	again bool
}

func (u *unsent) Error() string { return u.err.Error() }
func (u *unsent) Unwrap() error { return u.err }

// typed is the error for the caller, without addresses and ports.
func (u *unsent) typed(model string) *messages.Error {
	if !u.connected {
		return messages.NewError(messages.Unavailable, model, "the model's worker can't be reached").
			WithHint("it may be restarting: try again").WithRetry(time.Second).WithCause(u.err)
	}
	return messages.NewError(messages.InferenceError, model, "the model's worker closed the connection before it answered").
		WithHint("the worker's log says why").WithCause(u.err)
}

// send sends the request to the engine and waits for the head of its answer.
func (x *exchange) send(engine *worker, grant *messages.Grant) (*http.Response, *unsent) {
	var got, reused bool
	ctx := httptrace.WithClientTrace(x.ctx, &httptrace.ClientTrace{
		GotConn: func(c httptrace.GotConnInfo) { got, reused = true, c.Reused },
	})
	resp, err := engine.transport.RoundTrip(x.outgoing(ctx, engine, grant))
	if err == nil {
		return resp, nil
	}
	return nil, &unsent{err: err, connected: got, again: !got || reused && lost(err)}
}

// lost says that a kept connection ended before a byte of the answer: most likely its worker had ended, or closed it as
// idle, before it saw the request. On a new connection the same means that this request crashed the worker, and repeating
// it would crash the next one.
func lost(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		strings.Contains(err.Error(), "server closed idle connection") // net/http doesn't export this one
}

// outgoing is the request for the engine, which can be read more than once: net/http repeats it by itself when a kept
// connection turns out to be closed before anything was written.
func (x *exchange) outgoing(ctx context.Context, engine *worker, grant *messages.Grant) *http.Request {
	body, size := x.q.bodyFor(grant.Upstream)
	out := &http.Request{
		Method: http.MethodPost, URL: engine.target(x.r.URL), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: requestHeader(x.r.Header, x.id, grant, x.rt), ContentLength: size,
		GetBody: func() (io.ReadCloser, error) { return io.NopCloser(body()), nil },
	}
	out.Body = io.NopCloser(body())
	return out.WithContext(ctx)
}

// bodyFor gives the body with the model's name as the engine knows it. All other bytes are the client's.
func (q *question) bodyFor(upstream string) (open func() io.Reader, size int64) {
	if upstream == "" || upstream == q.model {
		return func() io.Reader { return bytes.NewReader(q.body) }, int64(len(q.body))
	}
	name, err := json.Marshal(upstream)
	if err != nil {
		panic(err) // strings always marshal
	}
	before, after := q.body[:q.at.from], q.body[q.at.to:]
	open = func() io.Reader {
		return io.MultiReader(bytes.NewReader(before), bytes.NewReader(name), bytes.NewReader(after))
	}
	return open, int64(len(before) + len(name) + len(after))
}
