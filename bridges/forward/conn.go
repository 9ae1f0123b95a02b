package forward

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// full is how much waits to be written at most, before messages with bodies wait too.
	full = 256 << 10
	// keptBuffer is the largest buffer that waits for further frames.
	keptBuffer = 128 << 10
	// few bytes aren't written before other goroutines had a turn: they may have more.
	few = 4 << 10
)

// conn is a connection between two hosts with many requests on it, at either end. One goroutine reads it and one writes it: what many requests have to
// say goes out in one write.
type conn struct {
	net    net.Conn
	host   string        // the other end's, at the end that is asked
	accept func(*stream) // takes a stream that the other end opened; nil at the end that asks
	began  time.Time
	heard  atomic.Int64 // nanoseconds after began
	over   chan struct{}
	alive  *time.Timer
	places chan struct{} // one for each stream of the end that asks

	mu      sync.Mutex
	streams map[uint64]*stream
	next    uint64
	leaving bool  // no further stream
	closing bool  // and none is left
	err     error // why it is over

	writing sync.Mutex
	room    sync.Cond // the writer has taken what waited, or a stream has ended
	out     []byte
	awake   bool // the writer will look
	wake    chan struct{}
}

func newConn(c net.Conn, accept func(*stream)) *conn {
	out := &conn{net: c, accept: accept, began: time.Now(), over: make(chan struct{}), streams: map[uint64]*stream{}, wake: make(chan struct{}, 1)}
	if accept == nil {
		out.places = make(chan struct{}, mostStreams)
	}
	out.room.L = &out.writing
	return out
}

// run reads and writes until the connection is over.
func (c *conn) run() {
	c.mu.Lock()
	if c.err == nil {
		c.alive = time.AfterFunc(alive, c.check)
	}
	c.mu.Unlock()
	var work sync.WaitGroup
	work.Go(c.write)
	c.fail(c.read())
	work.Wait()
}

// fail ends the connection and all its streams.
func (c *conn) fail(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	ended := c.streams
	c.streams = nil
	if c.alive != nil {
		c.alive.Stop()
	}
	c.mu.Unlock()
	close(c.over)
	for _, s := range ended {
		s.lose(err)
	}
	_ = c.net.Close() // may take a while
}

// check makes sure that the other end is there: after a silence it is asked for a word.
func (c *conn) check() {
	silent := time.Since(c.began) - time.Duration(c.heard.Load())
	switch {
	case silent >= alive+aliveTimeout:
		c.fail(fmt.Errorf("nothing was heard for %s", silent.Round(time.Second)))
		return
	case silent >= alive:
		c.say(framePing, 0, 0)
		silent = alive - aliveTimeout
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.alive.Reset(alive - silent)
	}
}

// write writes what waits.
func (c *conn) write() {
	var spare []byte
	for {
		select {
		case <-c.wake:
		case <-c.over:
			return
		}
		for {
			c.writing.Lock()
			if len(c.out) < few && len(c.out) > 0 {
				c.writing.Unlock()
				runtime.Gosched()
				c.writing.Lock()
			}
			now := c.out
			if c.out = spare[:0]; len(now) == 0 {
				c.out, c.awake = now, false
				c.writing.Unlock()
				break
			}
			c.room.Broadcast()
			c.writing.Unlock()
			if _, err := c.net.Write(now); err != nil {
				c.fail(err)
				return
			}
			if spare = now; cap(spare) > keptBuffer {
				spare = nil
			}
		}
	}
}

// stir wakes the writer; with the lock of writing.
func (c *conn) stir() {
	if !c.awake {
		c.awake = true
		c.wake <- struct{}{}
	}
}

// say sends a frame without content. It never waits.
func (c *conn) say(k kind, stream uint64, n uint32) {
	c.writing.Lock()
	c.out = bare(c.out, k, stream, n)
	c.stir()
	c.writing.Unlock()
}

// read reads frames until the connection ends.
func (c *conn) read() error {
	r, header := bufio.NewReaderSize(c.net, buffer), make([]byte, frameHeader)
	for {
		f, err := readFrame(r, header)
		if errors.Is(err, io.EOF) { // to a stream that would mean that its answer is complete
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		c.heard.Store(int64(time.Since(c.began)))
		switch f.kind {
		case frameOpen:
			err = c.opened(f)
		case frameMore, frameCredit, frameCut:
			if s := c.at(f.stream); s != nil { // else it has ended meanwhile
				err = s.take(f)
			}
		case framePing:
			c.say(framePong, 0, 0)
		case frameLeaving:
			c.retire(false)
		}
		if err != nil {
			return err
		}
	}
}

func (c *conn) at(stream uint64) *stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.streams[stream]
}

// opened takes a stream that the other end begins.
func (c *conn) opened(f frame) error {
	s := newStream(c, f.stream)
	s.ctx, s.end = context.WithCancelCause(context.Background())
	c.mu.Lock()
	switch {
	case c.accept == nil || c.streams[f.stream] != nil:
		c.mu.Unlock()
		return fmt.Errorf("stream %d may not begin", f.stream)
	case c.leaving || c.err != nil || len(c.streams) >= mostStreams: // the other end may count one less, whose last frame it has
		c.mu.Unlock()
		s.end(nil)
		c.say(frameCut, f.stream, 0)
		return nil
	}
	c.streams[f.stream] = s
	c.mu.Unlock()
	if err := s.take(f); err != nil {
		return err
	}
	c.accept(s)
	return nil
}

// stream begins one; its first message opens it at the other end. It ends with ctx.
func (c *conn) stream(ctx context.Context) (*stream, error) {
	select {
	case c.places <- struct{}{}:
	default:
		select {
		case c.places <- struct{}{}:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-c.over:
			return nil, c.err
		}
	}
	c.mu.Lock()
	if c.err != nil || c.leaving {
		defer c.mu.Unlock()
		<-c.places
		return nil, cmp.Or(c.err, errLeaving)
	}
	c.next++
	s := newStream(c, c.next)
	c.streams[s.id] = s
	c.mu.Unlock()
	s.first = true
	s.stop = context.AfterFunc(ctx, func() { s.leave(context.Cause(ctx)) })
	return s, nil
}

var errLeaving = errors.New("it is stopping")

// forget takes a stream off the connection.
func (c *conn) forget(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams[s.id] != s {
		return
	}
	delete(c.streams, s.id)
	if c.places != nil {
		<-c.places
	}
	c.close()
}

// linger is how long the end that was asked waits for the other one to close the connection. If it closed first, what the other end sends meanwhile could
// cost it the end of an answer.
const linger = time.Second

// close ends a connection that is being left and has no stream any more; with the lock.
func (c *conn) close() {
	if !c.leaving || len(c.streams) > 0 || c.err != nil || c.closing {
		return
	}
	c.closing = true
	if c.accept == nil {
		go c.fail(errLeaving)
		return
	}
	time.AfterFunc(linger, func() { c.fail(errLeaving) })
}

// retire begins nothing further, and ends the connection with its last stream. tell lets the other end know.
func (c *conn) retire(tell bool) {
	if tell {
		c.say(frameLeaving, 0, 0)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaving = true
	c.close()
}

// usable tells whether further streams may begin.
func (c *conn) usable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == nil && !c.leaving
}
