package grpcapi

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	"modelops/messages"
)

const streamedMethod = messages.ModelOps_InferStream_FullMethodName

// piece is a chunk on its way to the client. before runs in the sender just ahead of it: an id is free again before the client
// can know that its request is over, so that a client which reuses it at once isn't refused.
type piece struct {
	chunk  *messages.InferenceChunk
	before func()
}

// flights are the requests of one InferStream. Three parties work on it: the receiver reads requests, each request runs in a
// goroutine of its own, and the sender alone writes. The stream's context governs them all.
type flights struct {
	server *Server
	ctx    context.Context
	out    chan piece // never closed and unbuffered: the sender has the last chunk of a finished request

	mu      sync.Mutex
	running map[string]context.CancelFunc
	closed  bool
	work    sync.WaitGroup
}

// InferStream carries many requests at once. It ends when the client has half-closed and all is answered, when the client is
// gone (which cancels all), or when the server stops and what runs is done.
func (s *Server) InferStream(stream grpc.BidiStreamingServer[messages.InferenceRequest, messages.InferenceChunk]) error {
	_, err := s.Authenticate.AuthorizeInference(stream.Context(), credentialsOf(stream.Context()))
	if err != nil {
		return refuse(stream.Context(), err)
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	f := &flights{server: s, ctx: ctx, out: make(chan piece), running: map[string]context.CancelFunc{}}

	received := make(chan error, 1)
	go func() { received <- f.receive(stream) }()
	idle, sent := make(chan struct{}), make(chan struct{})
	go func() { defer close(sent); f.send(stream, idle, cancel) }()

	end := f.awaitEnd(received)
	if end != nil && !errors.Is(end, errStopping) {
		cancel(end)
	}
	f.close()
	close(idle)
	select {
	case <-sent:
	case <-ctx.Done(): // the sender may hang on a client that doesn't read; returning frees it
	}
	return f.verdict(end)
}

var errStopping = messages.NewError(messages.Unavailable, "", "the server is stopping").WithRetry(time.Second)

// awaitEnd is nil when the client half-closed.
func (f *flights) awaitEnd(received <-chan error) error {
	select {
	case err := <-received:
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	case <-f.ctx.Done():
		return context.Cause(f.ctx)
	case <-f.server.stopping:
		return errStopping
	}
}

// verdict is the status of the whole stream. A failed request doesn't fail the stream.
func (f *flights) verdict(end error) error {
	if cause := context.Cause(f.ctx); cause != nil {
		end = cause
	}
	if end == nil {
		return nil
	}
	return statusOf(asCaused(end))
}

// close takes no more requests and waits for those that run.
func (f *flights) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.work.Wait()
}

func (f *flights) receive(stream grpc.BidiStreamingServer[messages.InferenceRequest, messages.InferenceChunk]) error {
	for {
		r, room, err := f.server.next(stream)
		if err != nil {
			return err
		}
		if r.Cancel {
			f.cancel(r.RequestId)
		}
		if r.Cancel || !f.take(r, room) {
			room.Free()
		}
	}
}

// take starts a request, or answers at once why not. One that is started frees its room when it ends.
func (f *flights) take(r *messages.InferenceRequest, room *messages.Body) bool {
	id := name(r)
	// A key may be revoked, or end, while its stream is open.
	caller, err := f.server.Authenticate.AuthorizeInference(f.ctx, credentialsOf(f.ctx))
	if err != nil {
		f.refuse(id, err)
		return false
	}
	if err := messages.CheckInference(r); err != nil {
		f.refuse(id, err)
		return false
	}
	ctx, cancel, err := f.enter(id, caller)
	if err != nil {
		f.refuse(id, err)
		return false
	}
	go func() {
		defer f.work.Done()
		defer cancel()
		defer room.Free()
		f.run(ctx, r, caller)
	}()
	return true
}

// enter gives a request its place and its context, which ends by cancel, by the stream's end or by its time.
func (f *flights) enter(id string, caller messages.Principal) (context.Context, context.CancelFunc, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch limit := f.server.MaxInFlight; {
	case f.closed:
		return nil, nil, errStopping
	case f.running[id] != nil:
		return nil, nil, messages.NewError(messages.Conflict, "request "+id, "a request of this id is running on this stream").
			WithHint("choose an id for each request, or leave it empty")
	case len(f.running) >= limit:
		return nil, nil, messages.Errorf(messages.BulkheadRejection, "request "+id, "%d requests are running on this stream, the most it carries", limit).
			WithRetry(100 * time.Millisecond).WithHint("wait for an answer, or open another stream")
	}
	ctx, cancel := f.server.life(f.ctx, id, caller)
	f.running[id] = cancel
	f.work.Add(1)
	return ctx, cancel, nil
}

func (f *flights) cancel(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if cancel := f.running[id]; cancel != nil {
		cancel()
	}
}

func (f *flights) leave(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.running, id)
}

func (f *flights) refuse(id string, err error) {
	e := messages.AsError(err)
	f.server.Observe(streamedMethod, e.Code.String(), 0)
	_ = f.put(f.ctx, piece{chunk: &messages.InferenceChunk{RequestId: id, Done: true, Error: e.Body()}})
}

// put passes a piece to the sender; it fails when ctx is over: the request's ctx for its text, the stream's for its last chunk.
func (f *flights) put(ctx context.Context, p piece) error {
	select {
	case f.out <- p:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *flights) run(ctx context.Context, r *messages.InferenceRequest, caller messages.Principal) {
	start, id, index := time.Now(), r.RequestId, int32(0)
	response, err := f.infer(ctx, r, caller, func(c *messages.InferenceChunk) error {
		if c.Text == "" {
			return ctx.Err()
		}
		p := piece{chunk: &messages.InferenceChunk{RequestId: id, Index: index, Text: c.Text}}
		index++
		return f.put(ctx, p)
	})
	last, code := &messages.InferenceChunk{RequestId: id, Index: index, Done: true, Response: response}, "OK"
	if err != nil {
		e := failure(ctx, err)
		last.Response, last.Error, code = nil, e.Body(), e.Code.String()
	}
	f.server.Observe(streamedMethod, code, time.Since(start))
	f.server.Log.Debug("streamed request", "request", id, "model", r.ModelName, "code", code, "took", time.Since(start))
	if f.put(f.ctx, piece{chunk: last, before: func() { f.leave(id) }}) != nil {
		f.leave(id)
	}
}

// infer asks the gateway; a panic there ends this request only.
func (f *flights) infer(ctx context.Context, r *messages.InferenceRequest, caller messages.Principal, emit func(*messages.InferenceChunk) error) (response *messages.InferenceResponse, err error) {
	defer func() {
		if p := recover(); p != nil {
			response, err = nil, f.server.caught(streamedMethod, p)
		}
	}()
	return f.server.infer(ctx, r, caller, &messages.Arrival{}, emit)
}

// send is the one writer. It ends when idle is closed and nothing is left, or with the stream.
func (f *flights) send(stream grpc.ServerStreamingServer[messages.InferenceChunk], idle <-chan struct{}, cancel context.CancelCauseFunc) {
	stalled := time.AfterFunc(f.server.SendTimeout, func() {
		cancel(messages.NewError(messages.DeadlineExceeded, "", "the client read nothing for "+f.server.SendTimeout.String()))
	})
	stalled.Stop()
	for {
		select {
		case p := <-f.out:
			if p.before != nil {
				p.before()
			}
			stalled.Reset(f.server.SendTimeout)
			err := stream.Send(p.chunk)
			stalled.Stop()
			if err != nil {
				cancel(err)
				return
			}
		case <-idle:
			return
		case <-f.ctx.Done():
			return
		}
	}
}
