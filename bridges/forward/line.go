package forward

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Between attempts to connect; up to a fifth more or less.
const (
	firstPause, longestPause = 100 * time.Millisecond, time.Second
	connectTime              = 2 * time.Second
)

// line keeps one connection to a host. It connects when it is asked for first, and again when the connection is lost: by then requests wait. Once an
// attempt has failed they fail at once, until one succeeds.
type line struct {
	dial func(context.Context) (net.Conn, error)
	life context.Context
	end  context.CancelFunc

	mu     sync.Mutex
	conn   *conn         // the last one
	trying chan struct{} // closed at the end of the attempt that is under way
	failed error         // of the last attempt
	pause  time.Duration
	again  *time.Timer
}

func newLine(dial func(context.Context) (net.Conn, error)) *line {
	l := &line{dial: dial}
	l.life, l.end = context.WithCancel(context.Background())
	return l
}

// stream begins a stream on the connection.
func (l *line) stream(ctx context.Context) (*stream, error) {
	for again := false; ; again = true {
		c, err := l.connected(ctx)
		if err != nil {
			return nil, err
		}
		s, err := c.stream(ctx)
		if err == nil || again || c.usable() || ctx.Err() != nil { // else it has ended meanwhile
			return s, err
		}
	}
}

// connected waits for the connection.
func (l *line) connected(ctx context.Context) (*conn, error) {
	l.mu.Lock()
	for {
		if l.conn != nil && l.conn.usable() {
			defer l.mu.Unlock()
			return l.conn, nil
		}
		if l.life.Err() != nil {
			defer l.mu.Unlock()
			return nil, net.ErrClosed
		}
		if l.failed != nil {
			defer l.mu.Unlock()
			return nil, l.failed
		}
		l.try()
		trying := l.trying
		l.mu.Unlock()
		select {
		case <-trying:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		l.mu.Lock()
	}
}

// try begins an attempt unless one is under way; with the lock.
func (l *line) try() {
	if l.trying != nil || l.life.Err() != nil {
		return
	}
	done := make(chan struct{})
	l.trying = done
	go func() {
		ctx, cancel := context.WithTimeout(l.life, connectTime)
		defer cancel()
		raw, err := l.dial(ctx)
		l.mu.Lock()
		defer l.mu.Unlock()
		defer close(done)
		l.trying = nil
		if err == nil && l.life.Err() != nil {
			_ = raw.Close()
			return
		}
		if l.failed = err; err != nil {
			l.wait()
			return
		}
		l.pause = 0
		l.conn = newConn(raw, nil)
		go l.conn.run()
	}()
}

// wait plans the next attempt; with the lock.
func (l *line) wait() {
	if l.pause = min(l.pause*8/5, longestPause); l.pause == 0 {
		l.pause = firstPause
	}
	if l.life.Err() != nil {
		return
	}
	l.again = time.AfterFunc(time.Duration(float64(l.pause)*(0.8+0.4*rand.Float64())), func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.try()
	})
}

// hurry makes the next attempt now, since the host is heard again. Requests wait for it.
func (l *line) hurry() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil || l.life.Err() != nil {
		return
	}
	l.again.Stop()
	l.failed, l.pause = nil, 0
	l.try()
}

func (l *line) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end()
	if l.again != nil {
		l.again.Stop()
	}
	if l.conn != nil {
		l.conn.fail(net.ErrClosed)
	}
}
