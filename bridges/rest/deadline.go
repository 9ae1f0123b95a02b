package rest

import (
	"io"
	"net/http"
	"time"
)

// Limits bound what one client may take. A zero means its default.
type Limits struct {
	HeaderTime  time.Duration // for the head of a request, and for a TLS handshake
	HeaderBytes int
	HeaderCount int           // lines of the head
	BodyStall   time.Duration // a body that brings no byte for so long is ended
	BodyTime    time.Duration // for a whole body
	WriteStall  time.Duration // of a client that reads nothing
	IdleTime    time.Duration // of a connection without a request
	Streams     int           // requests at the same time on one HTTP/2 connection
}

func (l Limits) complete() Limits {
	return Limits{
		HeaderTime: or(l.HeaderTime, 10*time.Second), HeaderBytes: or(l.HeaderBytes, 64<<10), HeaderCount: or(l.HeaderCount, 200),
		BodyStall: or(l.BodyStall, 30*time.Second), BodyTime: or(l.BodyTime, 10*time.Minute), WriteStall: or(l.WriteStall, 2*time.Minute),
		IdleTime: or(l.IdleTime, 2*time.Minute), Streams: or(l.Streams, 4096),
	}
}

func or[T int | time.Duration](v, fallback T) T {
	if v <= 0 {
		return fallback
	}
	return v
}

// arriving is a body whose sender has to keep sending. Its deadline is the connection's, so it also ends the wait of net/http for the rest of a
// body that nobody reads.
type arriving struct {
	io.ReadCloser
	conn    *http.ResponseController
	stall   time.Duration
	end     time.Time // of the whole body
	moved   time.Time // when the deadline was last moved
	settled bool      // the body is over, and the deadline gone
	alone   bool      // it has the connection for itself: HTTP/1
	left    bool      // the answer doesn't wait for it
}

// lingerTime is how long the rest of a body that nobody reads may still arrive after the answer. A client that has sent it finds the answer, and not a
// connection that was reset.
const lingerTime = 250 * time.Millisecond

// watchBody puts a deadline on the body of a request, if it has one.
func (w *recorder) watchBody(r *http.Request, l Limits) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return
	}
	now := time.Now()
	w.body = &arriving{ReadCloser: r.Body, conn: http.NewResponseController(w.ResponseWriter), stall: l.BodyStall, end: now.Add(l.BodyTime)}
	if w.body.alone = r.ProtoMajor < 2; w.body.alone { // net/http itself waits for a body that nobody reads
		w.body.extend(now)
	}
	r.Body = w.body
}

// SetReadDeadline is a handler's own bound on the whole body.
func (w *recorder) SetReadDeadline(at time.Time) error {
	if w.body != nil && !at.IsZero() {
		w.body.end = at
		w.body.extend(time.Now())
	}
	return nil
}

// SetWriteDeadline leaves the bound on writes to a handler that sets its own; zero gives it back.
func (w *recorder) SetWriteDeadline(at time.Time) error {
	w.handlers = !at.IsZero()
	return http.NewResponseController(w.ResponseWriter).SetWriteDeadline(at)
}

// boundWrite limits the time that the next write may block. Setting a deadline isn't free, so it is moved only now and then.
func (w *recorder) boundWrite() {
	if w.handlers || w.stall <= 0 {
		return
	}
	if now := time.Now(); now.Sub(w.bounded) > w.stall/8 {
		w.bounded = now
		_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(now.Add(w.stall + w.stall/8))
	}
}

// unbound, since the connection outlives the request.
func (w *recorder) unbound() {
	if !w.bounded.IsZero() {
		_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Time{})
	}
}

// Read counts the silence of the sender, not the time that a handler lets pass between two reads.
func (b *arriving) Read(p []byte) (int, error) {
	if b.settled {
		return b.ReadCloser.Read(p)
	}
	// Moving a deadline isn't free: a body of many pieces moves it only now and then.
	if now := time.Now(); now.Sub(b.moved) > b.stall/16 {
		b.extend(now)
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.settled = true
	}
	if err == io.EOF {
		_ = b.conn.SetReadDeadline(time.Time{}) // the connection goes on, and is watched for the client's leaving
	}
	return n, err
}

// abandon is called when an answer begins while its request's body hasn't come to its end, such as a refusal. net/http would wait for the rest before it
// sends the answer: so a stranger could hold a connection for as long as bodies may stall. The answer goes out at once, and the connection ends.
func (b *arriving) abandon(h http.Header) {
	if b == nil || b.settled || !b.alone {
		return
	}
	h["Connection"] = []string{"close"}
	b.left, b.end = true, time.Now().Add(lingerTime)
	b.extend(time.Now())
}

// linger takes in what still comes of a body that was left, once its answer is out. Closing at once would reset the connection, and a client that is
// still sending may not find the answer then.
func (w *recorder) linger() {
	if w.body == nil || !w.body.left {
		return
	}
	_ = w.body.conn.Flush()
	_, _ = io.Copy(io.Discard, w.body.ReadCloser) // until its deadline
}

// extend moves the deadline. A writer without a connection, as in tests, has none.
func (b *arriving) extend(now time.Time) {
	b.moved = now
	at := now.Add(b.stall + b.stall/16)
	if at.After(b.end) {
		at = b.end
	}
	_ = b.conn.SetReadDeadline(at)
}
