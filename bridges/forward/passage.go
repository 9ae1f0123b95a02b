package forward

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"strconv"
	"time"

	"modelops/messages"
)

// passage is one request on its way to another host.
type passage struct {
	host    *host
	request *http.Request
	ctx     context.Context
	end     context.CancelCauseFunc // ends the request there too
	stream  *stream
}

// over ends the request there too, unless its answer is complete.
func (p *passage) over(err error) {
	if p.stream != nil {
		p.stream.close()
	}
	p.end(err)
}

// run sends the request and reads the head of the answer.
func (p *passage) run() (*http.Response, error) {
	if !p.host.enter(p) {
		closeBody(p.request)
		return nil, unreachable(p.host.name, nil)
	}
	defer p.host.leave(p)
	stream, err := p.host.stream(p.ctx)
	if err != nil {
		closeBody(p.request)
		return nil, err
	}
	p.stream = stream
	whole, err := p.begin()
	if err == nil && !whole {
		go p.send()
	} else {
		closeBody(p.request)
	}
	if err != nil && err != io.EOF { // at the end of the stream Recv says why
		return nil, err
	}
	f, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	if f.Response == nil {
		return nil, messages.NotRun(cmp.Or(f.Error.Err(), messages.NewError(messages.Internal, "host "+p.host.name, "its answer has no head")), f.Began)
	}
	return p.response(f), nil
}

// begin sends the head with the first piece of the body; whole tells that there is no more of it.
func (p *passage) begin() (whole bool, err error) {
	f := &messages.ForwardFrame{Request: p.head()}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	if f.Body, whole, err = p.read(*buf); err != nil {
		return false, err
	}
	return whole, p.stream.Send(f, whole)
}

// read fills a piece.
func (p *passage) read(buf []byte) (body []byte, last bool, err error) {
	if p.request.Body == nil || p.request.Body == http.NoBody {
		return nil, true, nil
	}
	n, err := io.ReadFull(p.request.Body, buf)
	switch err {
	case io.EOF, io.ErrUnexpectedEOF:
		return buf[:n], true, nil
	}
	return buf[:n], false, err
}

// send sends the rest of the body. A host that doesn't take it has answered already, or its answer says why.
func (p *passage) send() {
	defer closeBody(p.request)
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for last := false; !last; {
		var body []byte
		var err error
		if body, last, err = p.read(*buf); err != nil {
			p.end(messages.AsError(err))
			return
		}
		if p.stream.Send(&messages.ForwardFrame{Body: body}, last) != nil {
			return
		}
	}
}

// head is what the other host must know.
func (p *passage) head() *messages.ForwardRequest {
	r := p.request
	caller, meta := messages.CallerFrom(r.Context()), messages.MetaFrom(r.Context())
	f := &messages.ForwardRequest{Model: r.URL.User.Username(), Method: r.Method, Path: r.URL.RequestURI(), Headers: headers(r.Header), RequestId: caller.RequestID,
		ContentLength: r.ContentLength,
		Meta:          &messages.PeerMeta{Id: meta.ID, Correlation: meta.Correlation, Causation: meta.Causation, Caller: meta.Caller, Principal: messages.PeerCallerOf(caller.Principal)}}
	if r.ContentLength == 0 && r.Body != nil && r.Body != http.NoBody {
		f.ContentLength = -1
	}
	if !caller.Asked.IsZero() {
		f.WaitedMs = time.Since(caller.Asked).Milliseconds()
	}
	if deadline, ok := r.Context().Deadline(); ok {
		f.Meta.TimeoutMs = max(time.Until(deadline).Milliseconds(), 1)
	}
	if caller.KeepAlive != nil {
		ms := caller.KeepAlive.Milliseconds()
		f.KeepAliveMs = &ms
	}
	return f
}

func headers(h http.Header) (out []*messages.ForwardHeader) {
	n := 0
	for _, values := range h {
		n += len(values)
	}
	if n == 0 {
		return nil
	}
	all := make([]messages.ForwardHeader, n)
	out = make([]*messages.ForwardHeader, 0, n)
	for name, values := range h {
		for _, v := range values {
			f := &all[len(out)]
			f.Name, f.Value = name, v
			out = append(out, f)
		}
	}
	return out
}

func fields(h []*messages.ForwardHeader) http.Header {
	out, values := make(http.Header, len(h)), make([]string, len(h))
	for i, f := range h {
		if before := out[f.Name]; before != nil {
			out[f.Name] = append(before, f.Value)
			continue
		}
		values[i] = f.Value
		out[f.Name] = values[i : i+1 : i+1]
	}
	return out
}

func (p *passage) response(f *messages.ForwardFrame) *http.Response {
	r := f.Response
	resp := &http.Response{Status: strconv.Itoa(int(r.Status)) + " " + http.StatusText(int(r.Status)), StatusCode: int(r.Status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: fields(r.Headers),
		ContentLength: max(r.ContentLength, -1), Request: p.request}
	queued(resp.Header, r)
	if r.ContentLength == -1 {
		resp.TransferEncoding = []string{"chunked"}
	}
	resp.Body = &answer{p: p, resp: resp, left: f.Body}
	return resp
}

// queued says in the head how the request waited for its place at the other host, whatever the worker says of that.
func queued(h http.Header, r *messages.ForwardResponse) {
	for name, n := range map[string]int64{messages.QueueMsHeader: r.QueuedMs, messages.QueuePositionHeader: int64(r.QueuePosition), messages.QueueExpectedMsHeader: r.QueueExpectedMs} {
		if delete(h, name); r.QueuePosition > 0 {
			h[name] = []string{strconv.FormatInt(n, 10)}
		}
	}
}

// answer is the body of an answer. Closing it ends the request at the other host.
type answer struct {
	p    *passage
	resp *http.Response
	left []byte
	err  error
}

// Read implements io.Reader.
func (a *answer) Read(to []byte) (int, error) {
	for len(a.left) == 0 && a.err == nil {
		f, err := a.p.stream.Recv()
		switch {
		case err == io.EOF:
			a.err = io.EOF
		case a.p.ctx.Err() != nil:
			a.err = context.Cause(a.p.ctx)
		case err != nil:
			a.err = messages.NewError(messages.InferenceError, "host "+a.p.host.name, "the connection to host "+a.p.host.name+" ended in the middle of the answer").WithCause(err)
		case f.Error != nil:
			a.err = f.Error.Err()
		default:
			a.left = f.Body
			if len(f.Trailers) > 0 {
				a.resp.Trailer = fields(f.Trailers)
			}
		}
	}
	n := copy(to, a.left)
	a.left = a.left[n:]
	if n > 0 {
		return n, nil
	}
	return 0, a.err
}

// Close implements io.Closer.
func (a *answer) Close() error {
	a.p.over(nil)
	return nil
}
