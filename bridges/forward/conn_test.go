package forward

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"modelops/messages"
)

// pair is a connection between two hosts, in virtual time.
type pair struct {
	t            *testing.T
	asks, serves *conn
}

// joined runs a connection; serve gets each stream on a goroutine of its own.
func joined(t *testing.T, serve func(*stream)) *pair {
	near, far := net.Pipe()
	p := &pair{t: t, asks: newConn(near, nil), serves: newConn(far, func(s *stream) { go serve(s) })}
	go p.asks.run()
	go p.serves.run()
	return p
}

func (p *pair) end() {
	p.asks.fail(net.ErrClosed)
	synctest.Wait()
}

// open begins a stream with a first message.
func (p *pair) open(ctx context.Context, body string, last bool) *stream {
	p.t.Helper()
	s, err := p.asks.stream(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := s.Send(&messages.ForwardFrame{Request: &messages.ForwardRequest{Model: "m"}, Body: []byte(body)}, last); err != nil {
		p.t.Fatal(err)
	}
	return s
}

// idle fails the test unless no stream is left at either end.
func (p *pair) idle() {
	p.t.Helper()
	synctest.Wait()
	for name, c := range map[string]*conn{"asks": p.asks, "serves": p.serves} {
		c.mu.Lock()
		if len(c.streams) > 0 || len(c.places) > 0 {
			p.t.Errorf("%s: %d streams, %d places taken", name, len(c.streams), len(c.places))
		}
		c.mu.Unlock()
	}
}

func isOver(c *conn) bool {
	select {
	case <-c.over:
		return true
	default:
		return false
	}
}

// echo answers each message with its body.
func echo(s *stream) {
	for {
		f, err := s.Recv()
		if err != nil {
			s.finish(nil)
			return
		}
		if s.Send(&messages.ForwardFrame{Body: f.Body}, false) != nil {
			s.finish(nil)
			return
		}
	}
}

func TestMessagesGoBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := joined(t, echo)
		defer p.end()
		s := p.open(t.Context(), "a", false)
		for _, want := range []string{"a", "b", ""} {
			if f, err := s.Recv(); err != nil || string(f.Body) != want {
				t.Fatalf("%q, %v", f.GetBody(), err)
			}
			if err := s.Send(&messages.ForwardFrame{Body: []byte(map[string]string{"a": "b"}[want])}, want == ""); err != nil {
				t.Fatal(err)
			}
		}
		if f, err := s.Recv(); err != nil || len(f.Body) != 0 {
			t.Fatal(err)
		}
		if _, err := s.Recv(); err != nil { // the end's own message is empty
			t.Fatal(err)
		}
		if _, err := s.Recv(); err != io.EOF {
			t.Error(err)
		}
		s.close()
		p.idle()
	})
}

// TestWindow: who isn't read stops, goes on when it is, and ends when it is left; others on the connection go on.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent, ended := 0, error(nil)
		p := joined(t, func(s *stream) {
			f, _ := s.Recv()
			if string(f.Body) == "quick" {
				s.finish(&messages.ForwardFrame{Body: []byte("x")})
				return
			}
			for ended == nil {
				if ended = s.Send(&messages.ForwardFrame{Body: make([]byte, piece)}, false); ended == nil {
					sent += piece
				}
			}
			s.finish(nil)
		})
		defer p.end()
		ctx, leave := context.WithCancel(t.Context())
		s := p.open(ctx, "slow", true)
		synctest.Wait()
		if sent < window || sent > window+piece {
			t.Errorf("%d bytes are under way", sent)
		}
		for range window / piece {
			if _, err := s.Recv(); err != nil {
				t.Fatal(err)
			}
		}
		if synctest.Wait(); sent < 2*window || sent > 2*window+piece {
			t.Errorf("%d bytes after a window was read", sent)
		}
		quick := p.open(t.Context(), "quick", true)
		if f, err := quick.Recv(); err != nil || string(f.Body) != "x" {
			t.Error(err)
		}
		quick.close()
		leave()
		synctest.Wait()
		if ended != io.EOF {
			t.Error(ended)
		}
		if _, err := s.Recv(); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		s.close()
		p.idle()
	})
}

// TestSlowWriter: while a connection takes no bytes, messages wait in bounded memory, and one that waits ends with its caller.
func TestSlowWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c := newConn(near, nil)
		go c.run()
		ctx, leave := context.WithCancel(t.Context())
		var ended atomic.Int64
		for range 20 {
			s, err := c.stream(ctx)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				for {
					if err := s.Send(&messages.ForwardFrame{Body: make([]byte, piece)}, false); err == io.EOF {
						ended.Add(1)
						return
					}
				}
			}()
			synctest.Wait()
		}
		c.writing.Lock()
		if len(c.out) > full+2*piece {
			t.Errorf("%d bytes wait", len(c.out))
		}
		c.writing.Unlock()
		leave()
		if synctest.Wait(); ended.Load() != 20 {
			t.Errorf("%d ended", ended.Load())
		}
		_ = far.Close()
		synctest.Wait()
	})
}

// TestCallerLeavesAStream: the other end hears of it at any moment, even of one that left before its first message went out.
func TestCallerLeavesAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var began, over atomic.Int64
		p := joined(t, func(s *stream) {
			began.Add(1)
			<-s.ctx.Done()
			over.Add(1)
			s.finish(nil)
		})
		defer p.end()
		for range 100 {
			ctx, leave := context.WithCancel(t.Context())
			s, err := p.asks.stream(ctx)
			if err != nil {
				t.Fatal(err)
			}
			go leave()
			_ = s.Send(&messages.ForwardFrame{Request: &messages.ForwardRequest{}}, true)
			if _, err := s.Recv(); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			s.close()
		}
		p.idle()
		if began.Load() != over.Load() {
			t.Errorf("%d began, %d ended", began.Load(), over.Load())
		}
		s := p.open(t.Context(), "", true)
		if synctest.Wait(); began.Load() != over.Load()+1 {
			t.Error("it didn't begin")
		}
		s.close()
		p.idle()
		if began.Load() != over.Load() {
			t.Error("it goes on")
		}
	})
}

// TestSilence: a connection whose other end says nothing is over within alive and aliveTimeout; a quiet one stays.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := joined(t, echo)
		time.Sleep(time.Hour)
		s := p.open(t.Context(), "a", true)
		if f, err := s.Recv(); err != nil || string(f.Body) != "a" {
			t.Errorf("after an hour: %v", err)
		}
		s.close()
		p.end()

		near, far := net.Pipe()
		c := newConn(near, nil)
		go c.run()
		var heard bytes.Buffer
		go func() { _, _ = io.Copy(&heard, far) }()
		s, err := c.stream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := s.Recv(); err == nil || time.Since(began) != alive+aliveTimeout {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		s.close()
		synctest.Wait()
		if !bytes.Equal(heard.Bytes(), bare(nil, framePing, 0, 0)) {
			t.Errorf("%q was sent", heard.Bytes())
		}
	})
}

// TestStopping: what runs is finished, nothing further begins, and the connection ends with the last of it.
func TestStopping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		finish := make(chan struct{})
		p := joined(t, func(s *stream) {
			<-finish
			s.finish(&messages.ForwardFrame{Body: []byte("x")})
		})
		s := p.open(t.Context(), "", true)
		synctest.Wait()
		p.serves.retire(true)
		synctest.Wait()
		if _, err := p.asks.stream(t.Context()); err != errLeaving {
			t.Error(err)
		}
		close(finish)
		if f, err := s.Recv(); err != nil || string(f.Body) != "x" {
			t.Error(err)
		}
		s.close()
		synctest.Wait()
		if !isOver(p.asks) || !isOver(p.serves) {
			t.Error("the connection stays")
		}
	})
	synctest.Test(t, func(t *testing.T) { // the other end doesn't close it
		near, far := net.Pipe()
		c := newConn(far, nil)
		c.accept = func(*stream) {}
		go c.run()
		go func() { _, _ = io.Copy(io.Discard, near) }()
		c.retire(true)
		time.Sleep(2 * linger)
		if !isOver(c) {
			t.Error("the connection stays")
		}
	})
	synctest.Test(t, func(t *testing.T) { // one that was under way when the other end stopped is refused
		p := joined(t, echo)
		p.serves.mu.Lock()
		p.serves.leaving = true
		p.serves.mu.Unlock()
		s := p.open(t.Context(), "", true)
		if _, err := s.Recv(); err != errLeaving {
			t.Error(err)
		}
		s.close()
		p.end()
	})
}

// TestFullConnection: a request waits for a place on its connection, as long as its caller does.
func TestFullConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := joined(t, echo)
		defer p.end()
		var all []*stream
		for range mostStreams {
			s, err := p.asks.stream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, s)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := p.asks.stream(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		go all[0].close()
		if s, err := p.asks.stream(t.Context()); err != nil {
			t.Error(err)
		} else {
			s.close()
		}
		for _, s := range all[1:] {
			s.close()
		}
		p.idle()
	})
}
