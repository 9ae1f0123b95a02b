package natsapi

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"modelops/messages"
)

// infer answers a request with one message, or with a stream of chunks.
func (a *API) infer(ctx context.Context, c *call) error {
	room := a.Bodies.Body()
	defer room.Free()
	if err := room.Grow(ctx, int64(len(c.data))); err != nil {
		return err
	}
	r, err := c.inference()
	if err != nil {
		return err
	}
	c.data = nil
	c.id, c.model = r.RequestId, r.ModelName
	ctx, leave, err := a.running.enter(ctx, c.principal, c.id)
	if err != nil {
		return err
	}
	defer leave()
	var arrival messages.Arrival
	caller := messages.Caller{Principal: c.principal, RequestID: c.id, OnQueued: arrival.Told, Only: messages.Only{Host: c.header.Get(messages.HostHeader)}}
	if caller.KeepAlive, err = messages.TakeKeepAlive(r); err != nil {
		return err
	}
	ctx = messages.WithCaller(messages.WithMeta(ctx, c.meta()), caller)
	var emit func(*messages.InferenceChunk) error
	if c.stream {
		emit = func(chunk *messages.InferenceChunk) error {
			if ctx.Err() != nil || chunk.Text == "" {
				return ctx.Err()
			}
			return c.chunk(&messages.InferenceChunk{Text: chunk.Text})
		}
	}
	response, err := a.Gateway.Infer(ctx, r, emit)
	arrival.Note(response)
	leave() // before the caller gets the end, so that it may use the id again at once
	switch {
	case err != nil:
		return err
	case c.stream:
		return c.last(response)
	}
	body, err := shown.Marshal(response)
	if err != nil {
		return messages.Errorf(messages.Internal, c.endpoint.name, "the answer can't be written as JSON: %w", err)
	}
	return c.publish(body, waited(response))
}

// inference reads the request from body, headers and subject, and refuses what can never be answered.
func (c *call) inference() (*messages.InferenceRequest, error) {
	if asked := c.header.Get(StreamHeader); asked != "" {
		stream, err := strconv.ParseBool(asked)
		if err != nil {
			return nil, invalid(StreamHeader, "it is neither true nor false: "+strconv.Quote(asked), "leave it out for one reply")
		}
		c.stream = stream
	}
	r, err := parseInference(c.data)
	if err != nil {
		return nil, err
	}
	c.stream = c.stream || r.Stream
	if r.RequestId == "" {
		r.RequestId = c.id
	}
	if r.ModelName, err = c.nameOf("model_name", r.ModelName); err != nil {
		return nil, err
	}
	if r.Cancel {
		return nil, invalid("cancel", "it is for gRPC streams", "publish to "+root+".cancel.REQUEST_ID")
	}
	return r, messages.CheckInference(r)
}

// nameOf joins the name in the subject and the one in the body. One is enough; two must be the same.
func (c *call) nameOf(field, inBody string) (string, error) {
	inSubject, err := Name(c.rest)
	switch {
	case err != nil:
		return "", err
	case inSubject == "" && inBody == "":
		return "", invalid(field, "it is empty", "end the subject with its name or put it into the body")
	case inSubject == "":
		return inBody, nil
	case inBody != "" && inBody != inSubject:
		return "", invalid(field, "the subject names "+strconv.Quote(inSubject)+", the body "+strconv.Quote(inBody), "name it once")
	}
	return inSubject, nil
}

// last ends a stream that went well.
func (c *call) last(response *messages.InferenceResponse) error {
	last := &messages.InferenceChunk{Done: true, Response: response}
	err := c.chunk(last)
	if messages.CodeOf(err) == messages.PayloadTooLarge {
		// The text has been sent piece by piece; only its counts are new.
		response.ResponseText = ""
		err = c.chunk(last)
	}
	if err != nil {
		return err
	}
	return c.eof(nats.Header{})
}

func (c *call) chunk(chunk *messages.InferenceChunk) error {
	chunk.RequestId, chunk.Index = c.id, int32(c.index)
	body, err := shown.Marshal(chunk)
	if err != nil {
		return messages.Errorf(messages.Internal, "request "+c.id, "the chunk can't be written as JSON: %w", err)
	}
	headers := nats.Header{}
	if chunk.Response != nil {
		headers = waited(chunk.Response)
	}
	headers.Set(IndexHeader, strconv.Itoa(c.index))
	if err := c.publish(body, headers); err != nil {
		return err
	}
	c.index++
	return nil
}

// waited says in headers how a request waited.
func waited(r *messages.InferenceResponse) nats.Header {
	h := nats.Header{QueuePositionHeader: {strconv.Itoa(int(r.QueuePosition))}, QueueWaitHeader: {strconv.Itoa(int(r.QueuedMs))}}
	if r.QueuePosition == 0 || r.QueueExpectedMs > 0 { // it is known
		h.Set(QueueExpectedHeader, strconv.Itoa(int(r.QueueExpectedMs)))
	}
	h.Set(messages.HostHeader, r.Host)
	return h
}

// running is the inferences that a cancellation can name. A caller's ids are its own: another caller can neither end nor block them.
type running struct {
	mu   sync.Mutex
	ends map[runningKey]context.CancelFunc
}

type runningKey struct{ caller, id string }

func keyOf(p messages.Principal, id string) runningKey {
	return runningKey{p.Fingerprint + "\x00" + p.Name, id}
}

// enter registers a request and derives its context; leave must be called, and does nothing when called again.
func (r *running) enter(ctx context.Context, p messages.Principal, id string) (context.Context, func(), error) {
	key := keyOf(p, id)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ends[key] != nil {
		return nil, nil, messages.NewError(messages.Conflict, "request "+id, "a request of this id is running").
			WithHint("choose an id for each request, or leave it empty")
	}
	if r.ends == nil {
		r.ends = map[runningKey]context.CancelFunc{}
	}
	ctx, cancel := context.WithCancel(ctx)
	r.ends[key] = cancel
	return ctx, sync.OnceFunc(func() {
		r.mu.Lock()
		delete(r.ends, key)
		r.mu.Unlock()
		cancel()
	}), nil
}

func (r *running) cancel(p messages.Principal, id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	end := r.ends[keyOf(p, id)]
	if end != nil {
		end()
	}
	return end != nil
}

// cancel ends the request that the subject names, of the same caller. A publish is enough; a request is answered with whether there was one.
func (in *entry) cancel(r micro.Request) {
	a := in.api
	p, err := in.who(a.life, r.Headers())
	if err == nil {
		err = p.Allows(inferOperation, messages.Model{})
	}
	if err != nil {
		e := messages.AsError(err)
		a.tallies["cancel"].end(e.Code.String(), 0)
		if r.Reply() != "" {
			respondError(r, e)
		}
		return
	}
	id, err := Name(r.Subject()[len(root+".cancel."):])
	found := err == nil && a.running.cancel(p, id)
	a.tallies["cancel"].end("OK", 0)
	a.Log.Debug("NATS cancellation", "request", id, "found", found)
	if r.Reply() == "" {
		return
	}
	body, _ := json.Marshal(map[string]any{"request_id": id, "cancelled": found})
	_ = r.Respond(body)
}
