package forward

import (
	"context"
	"fmt"
	"io"
	"sync"

	"modelops/messages"
)

// stream is one request on a connection, at either end: messages go both ways until the last one of each. The end that was asked ends it with its last
// message; the end that asks may leave before.
type stream struct {
	c  *conn
	id uint64

	ctx  context.Context // at the end that was asked: ends when the other one leaves
	end  context.CancelCauseFunc
	stop func() bool // at the end that asks: the caller's end ends it no longer

	mu     sync.Mutex
	turn   sync.Cond // something of the following has changed
	in     []frame
	whole  bool  // the other end's last message is in
	first  bool  // nothing was sent yet that opens it
	sent   bool  // our last message was sent
	credit int   // what may be sent; a message goes when there is any
	unread int   // bytes in in
	read   int   // bytes that the other end hasn't heard of as read
	err    error // why it is over before its end
	hurry  bool  // the request has ended here: no message but the last waits for the other end
}

func newStream(c *conn, id uint64) *stream {
	s := &stream{c: c, id: id, credit: window}
	s.turn.L = &s.mu
	return s
}

// take takes a frame of the other end. It never waits.
func (s *stream) take(f frame) error {
	s.mu.Lock()
	switch {
	case f.kind == frameCredit:
		s.credit += f.n
	case f.kind == frameCut:
		s.mu.Unlock()
		if s.ctx != nil {
			s.lose(context.Canceled)
		} else {
			s.lose(errLeaving)
		}
		s.c.forget(s)
		return nil
	case s.whole || s.unread > window:
		s.mu.Unlock()
		return fmt.Errorf("stream %d has no room", s.id)
	default:
		s.in = append(s.in, f)
		s.unread += len(f.content)
		s.whole = f.last
	}
	over := s.whole && s.ctx == nil // the answer is complete
	s.turn.Broadcast()
	s.mu.Unlock()
	if over {
		s.c.forget(s)
	}
	return nil
}

// lose ends the stream with an error; what has come is still there to be read.
func (s *stream) lose(err error) {
	s.mu.Lock()
	if s.err == nil && !(s.whole && s.ctx == nil) { // an answer that is complete stays so
		s.err = err
	}
	s.turn.Broadcast()
	s.mu.Unlock()
	if s.end != nil {
		s.end(context.Canceled)
	}
	s.c.stirRoom()
}

// leave ends the stream here and tells the other end, unless it has ended there.
func (s *stream) leave(err error) {
	s.mu.Lock()
	tell, sending := !s.whole && !s.first && s.err == nil, !s.sent
	if s.err == nil {
		s.err = err
	}
	s.in = nil
	s.turn.Broadcast()
	s.mu.Unlock()
	if tell {
		s.c.say(frameCut, s.id, 0)
	}
	if sending {
		s.c.stirRoom()
	}
	s.c.forget(s)
}

// close ends the stream at the end that asks, whatever has come of it.
func (s *stream) close() {
	s.stop()
	s.leave(context.Canceled)
}

// stirRoom lets those look again who wait for room to write.
func (c *conn) stirRoom() {
	c.writing.Lock()
	c.room.Broadcast()
	c.writing.Unlock()
}

// Recv waits for the next message; io.EOF after the last.
func (s *stream) Recv() (*messages.ForwardFrame, error) {
	s.mu.Lock()
	for len(s.in) == 0 && !s.whole && s.err == nil {
		s.turn.Wait()
	}
	if len(s.in) == 0 {
		defer s.mu.Unlock()
		if s.err != nil {
			return nil, s.err
		}
		return nil, io.EOF
	}
	f := s.in[0]
	s.in[0] = frame{}
	if s.in = s.in[1:]; len(s.in) == 0 {
		s.in = nil
	}
	s.unread -= len(f.content)
	granted := 0
	if s.read += len(f.content); s.read >= window/4 && !s.whole && s.err == nil {
		granted, s.read = s.read, 0
	}
	s.mu.Unlock()
	if granted > 0 {
		s.c.say(frameCredit, s.id, uint32(granted))
	}
	return f.message()
}

// Send sends a message; its body is the caller's again when it returns. It waits while the other end doesn't read. io.EOF: the stream has ended, and
// Recv says why.
func (s *stream) Send(f *messages.ForwardFrame, isLast bool) error {
	body := f.Body
	f.Body = nil
	s.mu.Lock()
	for s.credit <= 0 && !s.done() && !s.hurry {
		s.turn.Wait()
	}
	if s.done() || s.hurry && !isLast {
		s.mu.Unlock()
		return io.EOF
	}
	k, opens := frameMore, s.first
	if opens {
		k, s.first = frameOpen, false
	}
	if isLast {
		k |= lastFlag
		s.sent = true
	}
	s.mu.Unlock()
	n, err := s.put(k, f, body)
	s.mu.Lock()
	s.credit -= n
	left := s.err != nil
	s.mu.Unlock()
	if opens && left { // before the other end had heard of it
		s.c.say(frameCut, s.id, 0)
	}
	return err
}

// done tells that nothing can be sent any more; with the lock.
func (s *stream) done() bool { return s.err != nil || s.whole && s.ctx == nil }

// put gives a message to the writer, and waits for room.
func (s *stream) put(k kind, f *messages.ForwardFrame, body []byte) (n int, err error) {
	c := s.c
	c.writing.Lock()
	defer c.writing.Unlock()
	for len(c.out) > full {
		s.mu.Lock()
		done, hurry := s.done(), s.hurry
		s.mu.Unlock()
		if done || hurry && k&lastFlag == 0 {
			return 0, io.EOF
		}
		if hurry {
			break
		}
		c.room.Wait()
	}
	before := len(c.out)
	if f.Request == nil && f.Response == nil && f.Error == nil && len(f.Trailers) == 0 {
		f = nil
	}
	if c.out, err = put(c.out, k, s.id, f, body); err != nil {
		return 0, err
	}
	c.stir()
	return len(c.out) - before - frameHeader, nil
}

// revoke ends the request at the end that was asked: what waits for the other end stops waiting, and the last message says why.
func (s *stream) revoke(why error) {
	s.end(why)
	s.mu.Lock()
	s.hurry = true
	s.turn.Broadcast()
	s.mu.Unlock()
	s.c.stirRoom()
}

// finish ends a stream at the end that was asked, with its last message. What still reads the request hears that it is over.
func (s *stream) finish(f *messages.ForwardFrame) {
	if f == nil {
		f = &messages.ForwardFrame{}
	}
	_ = s.Send(f, true)
	s.c.forget(s)
	s.lose(context.Canceled)
}
