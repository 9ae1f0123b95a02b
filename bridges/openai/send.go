package openai

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptrace"

	"modelops/messages"
)

// send sends the request to the engine and waits for the head of its answer. An error without a byte of an answer is messages.Unanswered.
func (x *exchange) send(engine *worker, grant *messages.Grant) (*http.Response, error) {
	got := false
	ctx := httptrace.WithClientTrace(x.ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { got = true }})
	resp, err := engine.transport.RoundTrip(x.outgoing(ctx, engine, grant))
	if err != nil {
		return nil, messages.NotAnswered(grant.Model, got, err)
	}
	return resp, nil
}

// outgoing is the request for the engine, which can be read more than once: net/http repeats it by itself when a kept connection turns out to be
// closed before anything was written, and only then, since no idempotency key is passed on.
func (x *exchange) outgoing(ctx context.Context, engine *worker, grant *messages.Grant) *http.Request {
	body, size := x.q.bodyFor(grant.Upstream)
	out := &http.Request{
		Method: x.r.Method, URL: engine.target(x.target(grant.Upstream)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: requestHeader(x.r.Header, x.id, grant, x), ContentLength: size,
		GetBody: func() (io.ReadCloser, error) { return io.NopCloser(body()), nil },
	}
	out.Body = io.NopCloser(body())
	return out.WithContext(ctx)
}

// bodyFor gives the body with the model's name as the engine knows it. All other bytes are the client's.
func (q *question) bodyFor(upstream string) (open func() io.Reader, size int64) {
	if upstream == "" || upstream == q.model || !q.at.present() {
		return func() io.Reader { return bytes.NewReader(q.body) }, int64(len(q.body))
	}
	name, err := json.Marshal(upstream)
	if err != nil {
		panic(err) // strings always marshal
	}
	if q.bare {
		name = []byte(upstream)
	}
	before, after := q.body[:q.at.from], q.body[q.at.to:]
	open = func() io.Reader {
		return io.MultiReader(bytes.NewReader(before), bytes.NewReader(name), bytes.NewReader(after))
	}
	return open, int64(len(before) + len(name) + len(after))
}
