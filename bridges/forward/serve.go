package forward

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"modelops/messages"
)

// serve runs one request of another host at a worker of this one. Its last frame goes out when its place is free again, so that who asks again when the
// answer is complete finds it free.
func (s *Server) serve(in *stream) {
	final, spare := s.answer(in)
	in.finish(final)
	if spare != nil {
		buffers.Put(spare)
	}
}

// answer runs a request, and gives the last frame of its answer, with the buffer that its body is in.
func (s *Server) answer(in *stream) (final *messages.ForwardFrame, spare *[]byte) {
	first, err := in.Recv()
	if err != nil {
		return nil, nil
	}
	if first.Request == nil {
		return refusal(messages.NewError(messages.InvalidArgument, "host "+s.o.Host, "the request has no head"), false), nil
	}
	ctx := s.admitted(in, first.Request)
	if ms := first.Request.GetMeta().GetTimeoutMs(); ms > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(ms)*time.Millisecond)
		defer cancel()
	}
	grant, err := s.o.Gateway.Admit(ctx, messages.BaseOf(first.Request.Model))
	if err != nil {
		return refusal(err, false), nil
	}
	x := &visit{s: s, in: in, grant: grant, first: first}
	path := pathOf(first.Request.Path)
	outcome := messages.Outcome{Failed: true} // should it panic, its place comes back
	defer func() {
		outcome.Path, outcome.Bytes = path, x.asked.Load()+x.bytes
		grant.Release(outcome)
	}()
	defer context.AfterFunc(grant.Ended, func() { in.revoke(context.Cause(grant.Ended)) })()
	outcome, final = x.run(ctx)
	return final, x.spare
}

func pathOf(target string) string {
	path, _, _ := strings.Cut(target, "?")
	return path
}

// refusal ends a passage with an error that comes out as the same one at the other host.
func refusal(err error, began bool) *messages.ForwardFrame {
	return &messages.ForwardFrame{Error: messages.AsError(err).Body(), Began: began}
}

// visit is a request of another host at a worker.
type visit struct {
	s     *Server
	in    *stream
	grant *messages.Grant
	first *messages.ForwardFrame
	asked atomic.Int64 // bytes of the request
	bytes int64        // of the answer
	spare *[]byte      // what the last frame is in
}

// run sends the request to the worker, and its answer back but for the last frame. ctx is the caller's; the grant's end ends it too.
func (x *visit) run(ctx context.Context) (messages.Outcome, *messages.ForwardFrame) {
	got := false
	trace := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { got = true }})
	out, err := x.outgoing(trace)
	if err != nil {
		return messages.Outcome{Err: err}, refusal(err, false)
	}
	resp, err := x.s.o.Workers.RoundTrip(out)
	if err != nil {
		lost := messages.NotAnswered(x.grant.Model, got, err)
		var sending messages.Sending
		outcome, again := sending.Failed(ctx, x.grant, lost)
		if ctx.Err() != nil {
			return outcome, refusal(context.Cause(ctx), true)
		}
		return outcome, refusal(lost, !again)
	}
	defer func() { _ = resp.Body.Close() }()
	return x.relay(ctx, resp)
}

// outgoing is the request for the worker.
func (x *visit) outgoing(ctx context.Context) (*http.Request, error) {
	r := x.first.Request
	base, path := x.grant.URL, r.Path
	if strings.HasSuffix(base, "/v1") && strings.HasPrefix(path, "/v1/") { // remote base URLs are often written with it
		path = strings.TrimPrefix(path, "/v1")
	}
	at, err := url.Parse(base + path)
	if err != nil || at.Host == "" || !strings.HasPrefix(path, "/") { // what follows the port without a slash may name another server, which would get the worker's key
		return nil, messages.Errorf(messages.InvalidArgument, x.grant.Model, "%.100q is no path at a worker", r.Path)
	}
	out := &http.Request{Method: r.Method, URL: at, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: fields(r.Headers), ContentLength: r.ContentLength}
	if key := x.grant.APIKey; key != "" {
		out.Header["Authorization"] = []string{"Bearer " + key}
		if strings.HasPrefix(path, "/v1/messages") {
			out.Header["X-Api-Key"] = []string{key}
		}
	}
	x.asked.Store(int64(len(x.first.Body)))
	switch whole := x.first.Body; {
	case r.ContentLength == 0:
		out.Body = http.NoBody
	case r.ContentLength == int64(len(whole)): // it can be sent again when a kept connection turns out to be closed
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(whole)), nil }
		out.Body, _ = out.GetBody()
	default:
		out.Body = &upload{in: x.in, left: whole, read: &x.asked}
	}
	x.first = nil
	return out.WithContext(ctx), nil
}

// upload is the body of a request that comes in pieces.
type upload struct {
	in   *stream
	left []byte
	read *atomic.Int64
}

// Read implements io.Reader.
func (u *upload) Read(to []byte) (int, error) {
	for len(u.left) == 0 {
		f, err := u.in.Recv()
		if err != nil {
			return 0, err
		}
		u.left = f.Body
		u.read.Add(int64(len(f.Body)))
	}
	n := copy(to, u.left)
	u.left = u.left[n:]
	return n, nil
}

// Close implements io.Closer.
func (*upload) Close() error { return nil }

var buffers = sync.Pool{New: func() any { b := make([]byte, piece); return &b }}

// relay sends the answer back as it comes, but for its last frame.
func (x *visit) relay(ctx context.Context, resp *http.Response) (messages.Outcome, *messages.ForwardFrame) {
	outcome := judged(resp.StatusCode, x.grant.Model)
	head := &messages.ForwardResponse{Status: int32(resp.StatusCode), Headers: headers(resp.Header), ContentLength: resp.ContentLength,
		QueuedMs: x.grant.Queued.Milliseconds(), QueuePosition: int32(x.grant.Position), QueueExpectedMs: x.grant.Expected.Milliseconds()}
	if resp.ContentLength < 0 && len(resp.TransferEncoding) == 0 {
		head.ContentLength = -2
	}
	buf := buffers.Get().(*[]byte)
	x.spare = buf
	f := &messages.ForwardFrame{Response: head}
	if resp.ContentLength <= 0 || resp.ContentLength > piece { // its body may take a while
		if err := x.in.Send(f, false); err != nil {
			return x.unsent(err)
		}
		f = &messages.ForwardFrame{}
	}
	for {
		n, err := fill(resp, *buf)
		x.grant.Heard(time.Now())
		x.bytes += int64(n)
		f.Body = (*buf)[:n]
		if err == io.EOF {
			f.Trailers = headers(resp.Trailer)
			if ctx.Err() != nil {
				return gone(x.grant, context.Cause(ctx)), nil
			}
			return outcome, f
		}
		if n > 0 || f.Response != nil {
			if sent := x.in.Send(f, false); sent != nil {
				return x.unsent(sent)
			}
			f = &messages.ForwardFrame{}
		}
		switch {
		case err == nil:
		case ctx.Err() != nil:
			cause := context.Cause(ctx)
			return messages.Outcome{Err: cause}, refusal(cause, true)
		default:
			why := messages.NewError(messages.InferenceError, x.grant.Model, "the model's worker broke off in the middle of the answer").WithCause(err)
			return messages.Outcome{Failed: true, Err: why}, refusal(why, true)
		}
	}
}

// fill reads what is there; of a short body of known length all, so that it is one frame with its end.
func fill(resp *http.Response, buf []byte) (int, error) {
	if resp.ContentLength <= 0 || resp.ContentLength > int64(len(buf)) {
		return resp.Body.Read(buf)
	}
	n, err := io.ReadFull(resp.Body, buf[:resp.ContentLength])
	switch {
	case err == nil:
		return n, io.EOF
	case errors.Is(err, io.EOF):
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}

// judged is what a status says of the worker.
func judged(status int, model string) messages.Outcome {
	switch {
	case status >= 500 && status != http.StatusNotImplemented:
		return messages.Outcome{Failed: true, Err: messages.Errorf(messages.InferenceError, model, "the engine answered %d", status)}
	case status >= 400:
		return messages.Outcome{Err: messages.Errorf(messages.InvalidArgument, model, "the engine answered %d", status)}
	}
	return messages.Outcome{}
}

// unsent is how an answer ends that the other host doesn't take: it is told why when the request has ended here.
func (x *visit) unsent(err error) (messages.Outcome, *messages.ForwardFrame) {
	if why := context.Cause(x.grant.Ended); why != nil {
		return messages.Outcome{Err: why}, refusal(why, true)
	}
	return gone(x.grant, err), nil
}

// gone is the outcome of an answer that the other host doesn't take any more.
func gone(g *messages.Grant, err error) messages.Outcome {
	return messages.Outcome{Err: messages.NewError(messages.Cancelled, g.Model, "the caller went away").WithCause(err)}
}
