package natsapi

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"google.golang.org/protobuf/encoding/protojson"

	"modelops/messages"
)

// Headers of requests and replies.
const (
	TimeoutHeader   = "Modelops-Timeout"    // request: a Go duration, such as 30s
	StreamHeader    = "Modelops-Stream"     // request: true asks for chunks
	RequestIDHeader = "Modelops-Request-Id" // both: the request's name
	IndexHeader     = "Modelops-Index"      // chunk: its number from 0
	StatusHeader    = "Status"              // last message of a stream: EOF
	RetryHeader     = "Retry-After-Ms"      // error: when trying again makes sense

	// A key beside the connection's, which then says who asks: Bearer KEY, or the key alone in the second.
	AuthorizationHeader = "Authorization"
	KeyHeader           = "X-Api-Key"

	// Reply, and last chunk of a stream: how the request waited, in milliseconds.
	QueuePositionHeader = "Modelops-Queue-Position"    // place at arrival, from 1; 0 = it didn't wait
	QueueExpectedHeader = "Modelops-Queue-Expected-Ms" // how long the wait was expected to be at arrival; absent when it wasn't known
	QueueWaitHeader     = "Modelops-Queue-Ms"          // how long it was
)

// call is one request on its way through.
type call struct {
	api      *API
	in       *entry
	endpoint *endpoint
	rest     string // of the subject, still encoded
	data     []byte
	header   micro.Headers
	to       string // reply subject

	principal messages.Principal
	id        string // the request's name, once known
	model     string // for the log, once known
	stream    bool   // the caller waits for an EOF
	index     int    // of the next chunk
	failed    *messages.Error
}

// run serves the call, answers its failure and reports its end.
func (c *call) run() {
	start := time.Now()
	c.id = c.header.Get(RequestIDHeader)
	if c.id == "" {
		c.id = uuid.NewString()
	}
	ctx, cancel, err := c.life()
	if err == nil {
		watched, end := context.WithCancelCause(ctx)
		ctx = watched
		watch := time.AfterFunc(c.api.look, func() { c.watch(watched, end) })
		err = c.guard(ctx)
		watch.Stop()
		end(nil)
		cancel()
	}
	if err != nil {
		c.fail(failure(ctx, err))
	}
	c.tell(time.Since(start))
}

// life is the call's context; a call always has a deadline.
func (c *call) life() (context.Context, context.CancelFunc, error) {
	timeout := c.api.Timeout
	if asked := c.header.Get(TimeoutHeader); asked != "" {
		d, err := time.ParseDuration(asked)
		if err != nil || d <= 0 {
			return c.api.life, nil, invalid(TimeoutHeader, "it is no positive duration: "+strconv.Quote(asked), "write it as 30s or 2m")
		}
		timeout = d
	}
	ctx, cancel := context.WithTimeout(c.api.life, timeout)
	return ctx, cancel, nil
}

const (
	lookEvery = 2 * time.Second // how often a call looks whether its caller is still there
	awayLooks = 5               // a caller that reconnects is back sooner
)

// watch ends a call whose caller has left: for some time nobody has been subscribed to its reply subject.
func (c *call) watch(ctx context.Context, end context.CancelCauseFunc) {
	if c.api.Reads == nil {
		return
	}
	look := time.NewTicker(c.api.look)
	defer look.Stop()
	for missed := 0; missed < awayLooks; {
		if missed++; c.isRead() {
			missed = 0
		}
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
	end(messages.NewError(messages.Cancelled, "request "+c.id, "the caller went away: nobody reads its reply subject"))
}

// isRead tells whether anyone is subscribed to the reply subject, as far as is known.
func (c *call) isRead() bool { return c.api.Reads == nil || c.api.Reads(c.in.principal, c.to) }

// guard keeps a panic from ending the process. The answer doesn't say what panicked: it may hold a prompt.
func (c *call) guard(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.api.Log.Error("a NATS request panicked", "endpoint", c.endpoint.name, "panic", p, "stack", string(debug.Stack()))
			err = messages.NewError(messages.Internal, c.endpoint.name, "the request panicked").WithHint("the stack is in the server's log")
		}
	}()
	if c.principal, err = c.in.who(ctx, c.header); err != nil {
		return err
	}
	if err := c.principal.Allows(c.endpoint.operation, messages.Model{}); err != nil {
		return err
	}
	return c.endpoint.serve(messages.WithMeta(ctx, c.meta()), c)
}

// who is the sender of a request: the principal of its connection, or of the key in its headers. A key that isn't known counts as none where
// none is configured: clients of OpenAI's API always send one.
func (in *entry) who(ctx context.Context, headers micro.Headers) (messages.Principal, error) {
	key := keyIn(headers)
	if key == "" || in.api.Authenticate == nil {
		return in.principal, nil
	}
	p, err := in.api.Authenticate.Of(ctx, messages.Credentials{Key: key, Peer: netip.AddrFrom4([4]byte{127, 0, 0, 1}), Door: "nats", By: cmp.Or(in.principal.Fingerprint, in.principal.Name)})
	if err == nil && p.Name == "" {
		return in.principal, nil
	}
	return p, err
}

func (c *call) meta() messages.Meta {
	return messages.Meta{Correlation: c.id, Causation: c.id, Caller: c.principal.Fingerprint}
}

// keyIn is the API key in the headers. NATS keeps the case of header names, so any case is accepted.
func keyIn(headers micro.Headers) string {
	var authorization, key string
	for name, values := range headers {
		switch {
		case len(values) == 0:
		case strings.EqualFold(name, AuthorizationHeader):
			authorization = values[0]
		case strings.EqualFold(name, KeyHeader):
			key = values[0]
		}
	}
	return messages.KeyIn(authorization, key)
}

// failure is err as the caller sees it. When the deadline has passed or the server stops, the call's work was cancelled because of it.
func failure(ctx context.Context, err error) *messages.Error {
	e := messages.AsError(err)
	if why := new(messages.Error); e.Code == messages.Cancelled && errors.As(context.Cause(ctx), &why) {
		return why
	}
	if e.Code == messages.Cancelled && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return messages.NewError(messages.DeadlineExceeded, e.Subject, "the deadline passed before there was an answer").WithCause(err)
	}
	return e
}

// tell reports and logs the end of the call. Messages of errors stay out of the log unless the fault is ours: they may quote input.
func (c *call) tell(took time.Duration) {
	code, level := "OK", slog.LevelDebug
	attrs := []any{"endpoint", c.endpoint.name, "request", c.id, "model", c.model, "took", took}
	if e := c.failed; e != nil {
		code = e.Code.String()
		if e.Code.Wire().HTTP >= 500 {
			level, attrs = slog.LevelWarn, append(attrs, "subject", e.Subject, "error", e.ForLog())
		}
	}
	c.endpoint.tally.end(code, took)
	c.api.Observe(c.endpoint.name, code, took)
	c.api.Log.Log(context.Background(), level, "NATS request", append(attrs, "code", code)...)
}

// shown is how messages look on NATS: proto names, and zeros too, so that a reader in a shell sees every field.
var shown = protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}

// publish sends one message to the caller. Too large a one is PAYLOAD_TOO_LARGE: nothing was sent, so an error still can be.
func (c *call) publish(body []byte, headers nats.Header) error {
	headers.Set(RequestIDHeader, c.id)
	err := c.in.conn.PublishMsg(&nats.Msg{Subject: c.to, Header: headers, Data: body})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrMaxPayload):
		return messages.Errorf(messages.PayloadTooLarge, "answer", "its %d bytes are more than the %d a NATS message holds", len(body), c.in.conn.MaxPayload()).
			WithHint("ask for a stream, or use HTTP or gRPC").WithCause(err)
	}
	return messages.Errorf(messages.Unavailable, "nats", "the answer could not be sent: %w", err)
}

// fail answers with an error; a stream gets its end as well.
func (c *call) fail(e *messages.Error) {
	c.failed = e
	wire := errorWire(e)
	headers := wire.headers()
	body := wire.body
	if c.stream {
		body, _ = shown.Marshal(&messages.InferenceChunk{RequestId: c.id, Index: int32(c.index), Done: true, Error: e.Body()})
		headers.Set(IndexHeader, strconv.Itoa(c.index))
	}
	err := c.publish(body, headers)
	if err == nil && c.stream {
		err = c.eof(wire.headers())
	}
	if err != nil {
		c.api.Log.Debug("a NATS error could not be sent", "endpoint", c.endpoint.name, "request", c.id, "error", err)
	}
}

// eof ends a stream with an empty message, which generic clients wait for.
func (c *call) eof(headers nats.Header) error {
	headers.Set(StatusHeader, "EOF")
	return c.publish(nil, headers)
}

// wireError is an error in the form of the NATS micro protocol.
type wireError struct {
	code, name string
	body       []byte
	extra      nats.Header
}

func errorWire(e *messages.Error) wireError {
	wire := e.Code.Wire()
	w := wireError{code: strconv.Itoa(wire.HTTP), name: wire.Name, extra: nats.Header{}}
	// An ErrorBody is text only; it fails to marshal when that isn't UTF-8, and the headers then say enough.
	w.body, _ = shown.Marshal(e.Body())
	if e.Retry > 0 {
		w.extra.Set(RetryHeader, strconv.FormatInt(e.Retry.Milliseconds(), 10))
	}
	return w
}

// respondError answers through the framework, which is only right before the endpoint's function returns.
func respondError(r micro.Request, e *messages.Error) {
	wire := errorWire(e)
	_ = r.Error(wire.code, wire.name, wire.body, micro.WithHeaders(micro.Headers(wire.extra)))
}

func (w wireError) headers() nats.Header {
	h := nats.Header{micro.ErrorCodeHeader: {w.code}, micro.ErrorHeader: {w.name}}
	for k, v := range w.extra {
		h[k] = v
	}
	return h
}

func invalid(field, what, hint string) *messages.Error {
	return messages.NewError(messages.InvalidArgument, field, what).WithHint(hint)
}
