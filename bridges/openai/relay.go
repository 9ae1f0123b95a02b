package openai

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"modelops/messages"
)

// errorBytes is how much of an engine's error fits into an event.
const errorBytes = 64 << 10

// relay passes the engine's answer through and says whether the engine failed.
func (x *exchange) relay(resp *http.Response, grant *messages.Grant, engine *worker) messages.Outcome {
	x.status = resp.StatusCode
	var outcome messages.Outcome
	// 501 is no failure: this engine was not built or started for the route.
	if resp.StatusCode >= 500 && resp.StatusCode != http.StatusNotImplemented {
		err := messages.Errorf(messages.InferenceError, grant.Model, "the engine answered %d", resp.StatusCode)
		outcome = messages.Outcome{Failed: !x.shared || !mayBeOnes(resp.StatusCode), Err: err}
		x.cause = err
	}
	if resp.StatusCode >= 400 && outcome.Err == nil { // the engine refused this input: no sign of its health
		outcome.Err = messages.Errorf(messages.InvalidArgument, grant.Model, "the engine answered %d", resp.StatusCode)
	}
	begun := x.pulse.stop()
	if begun && (resp.StatusCode != http.StatusOK || !isEventStream(resp)) {
		x.relayAsEvent(resp)
		return outcome
	}
	if !begun {
		x.writeHead(resp, grant, engine)
	}
	copied := x.copyBody(resp, grant)
	if !begun {
		copyTrailers(x.w.Header(), resp)
	}
	if copied.err == nil {
		return outcome
	}
	return x.cut(copied, isEventStream(resp) && resp.Header.Get("Content-Encoding") == "", grant)
}

func (x *exchange) writeHead(resp *http.Response, grant *messages.Grant, engine *worker) {
	h := x.w.Header()
	copyResponseHeader(h, resp.Header)
	x.confine(h)
	x.redirect(h, engine, grant.Upstream)
	queueHeaders(h, grant)
	if isEventStream(resp) {
		h["X-Accel-Buffering"] = []string{"no"}
	}
	for name := range resp.Trailer {
		if ofEngine(name) {
			h.Add("Trailer", name)
		}
	}
	x.w.WriteHeader(resp.StatusCode)
}

// copyTrailers passes on what came after the body, announced or not.
func copyTrailers(h http.Header, resp *http.Response) {
	announced := map[string]bool{}
	for _, line := range h["Trailer"] {
		announced[line] = true
	}
	for name, values := range resp.Trailer {
		if !ofEngine(name) {
			continue
		}
		if !announced[name] {
			name = http.TrailerPrefix + name
		}
		h[name] = values
	}
}

// copied says how the copying of a body ended.
type copied struct {
	err error
	// fromEngine is true when reading failed, not writing.
	fromEngine bool
	// atEvent: the last bytes ended an SSE event, so that another may follow.
	atEvent bool
}

// copyBody passes each piece on as it comes. No piece waits for the next one: what isn't the end of a body of known
// length is flushed.
func (x *exchange) copyBody(resp *http.Response, grant *messages.Grant) copied {
	buf := x.api.buffers.Get().(*[]byte)
	defer x.api.buffers.Put(buf)
	to := &pieces{w: x.w, conn: http.NewResponseController(x.w), left: resp.ContentLength, atEvent: true, stall: x.api.stall, grant: grant}
	if to.left < 0 {
		_ = to.conn.Flush() // the body may take a while
	}
	defer to.reset()
	for first := true; ; {
		n, err := resp.Body.Read(*buf)
		x.answered += int64(n)
		if n > 0 {
			if first {
				first = false
				x.observe.ObserveFirstByte(x.model, time.Since(x.began))
			}
			if werr := to.put((*buf)[:n]); werr != nil {
				return copied{err: werr, atEvent: to.atEvent}
			}
		}
		if err == io.EOF {
			return copied{atEvent: to.atEvent}
		}
		if err != nil {
			return copied{err: err, fromEngine: true, atEvent: to.atEvent}
		}
	}
}

// pieces is the client's side of a body that is being copied.
type pieces struct {
	w    http.ResponseWriter
	conn *http.ResponseController
	// left is what must still come of a body of known length; negative when it isn't known.
	left int64
	// atEvent: see copied. tail are the last bytes, since the end of an event may come in several pieces.
	atEvent bool
	tail    [4]byte
	// bounded is when the write deadline, stall from then, was last moved.
	bounded time.Time
	stall   time.Duration
	grant   *messages.Grant // nil for a part of a batch's answer
}

func (p *pieces) put(piece []byte) error {
	p.left -= int64(len(piece))
	p.bound()
	if _, err := p.w.Write(piece); err != nil {
		return err
	}
	if n := len(piece); n >= len(p.tail) {
		copy(p.tail[:], piece[n-len(p.tail):])
	} else {
		copy(p.tail[:], p.tail[n:])
		copy(p.tail[len(p.tail)-n:], piece)
	}
	tail := p.tail[:]
	p.atEvent = bytes.HasSuffix(tail, []byte("\n\n")) || bytes.HasSuffix(tail, []byte("\r\n\r\n")) || bytes.HasSuffix(tail, []byte("\r\r"))
	if p.left == 0 {
		return nil
	}
	if err := p.conn.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// bound limits the time that the next write may block. Setting a deadline isn't free, so it is moved only now and then.
func (p *pieces) bound() {
	now := time.Now()
	if p.grant != nil {
		p.grant.Heard(now)
	}
	if now.Sub(p.bounded) > p.stall/8 {
		p.bounded = now
		_ = p.conn.SetWriteDeadline(now.Add(p.stall))
	}
}

// reset, since the connection outlives the request.
func (p *pieces) reset() {
	if !p.bounded.IsZero() {
		_ = p.conn.SetWriteDeadline(time.Time{})
	}
}

// cut ends an answer that can't be completed: with an event where the client can read one, and always by closing the
// connection, so that half an answer doesn't look whole.
func (x *exchange) cut(c copied, events bool, grant *messages.Grant) messages.Outcome {
	x.abort = true
	var outcome messages.Outcome
	var far *messages.Error
	switch {
	case x.r.Context().Err() != nil || !c.fromEngine:
		x.status, x.cause = statusClientGone, messages.NewError(messages.Cancelled, grant.Model, "the caller went away").WithCause(c.err)
		return messages.Outcome{Err: x.cause}
	case errors.Is(x.ctx.Err(), context.DeadlineExceeded):
		x.cause = messages.NewError(messages.DeadlineExceeded, grant.Model, "the deadline passed in the middle of the answer")
		outcome.Err = x.cause
	case x.ctx.Err() != nil: // the grant was taken back
		x.cause = messages.AsError(context.Cause(x.ctx))
		outcome.Err = x.cause
	case grant.Host != "" && errors.As(c.err, &far): // the other host says why, or it is the connection to it that ended
		x.cause = far
		outcome = messages.Outcome{Failed: true, Err: far}
	default:
		x.cause = messages.NewError(messages.InferenceError, grant.Model, "the model's worker broke off in the middle of the answer").WithCause(c.err)
		outcome = messages.Outcome{Failed: true, Err: x.cause}
	}
	bad := refusalOf(x.cause)
	x.status = bad.err.Code.Wire().HTTP
	if events && c.atEvent {
		_, _ = x.w.Write(bad.event(x.rt))
		_ = http.NewResponseController(x.w).Flush()
	}
	return outcome
}

// relayAsEvent sends an answer that isn't a stream as an event, after the stream has begun.
func (x *exchange) relayAsEvent(resp *http.Response) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, errorBytes))
	var line bytes.Buffer
	if err != nil || json.Compact(&line, body) != nil {
		x.refuse(refusalOf(messages.Errorf(messages.InferenceError, x.model, "the engine answered %d without a stream", resp.StatusCode)))
		return
	}
	if resp.StatusCode >= 400 {
		_, _ = x.w.Write(append(errorEvent(line.Bytes(), x.rt), x.rt.end()...))
		return
	}
	_, _ = x.w.Write([]byte("data: " + line.String() + "\n\n"))
}

func isEventStream(resp *http.Response) bool {
	return strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream")
}
