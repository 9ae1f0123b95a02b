package forward

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestLine: requests wait for the first attempt to connect. Once one has failed they fail at once, while attempts go on at longer pauses; when the host is
// heard again they wait for an attempt that is made at once.
func TestLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("down")
		var up atomic.Bool
		var dials atomic.Int64
		l := newLine(func(context.Context) (net.Conn, error) {
			dials.Add(1)
			time.Sleep(50 * time.Millisecond)
			if !up.Load() {
				return nil, down
			}
			near, far := net.Pipe()
			go newConn(far, func(s *stream) { go echo(s) }).run()
			return near, nil
		})
		defer l.close()
		took := func() (time.Duration, error) {
			began := time.Now()
			s, err := l.stream(t.Context())
			if err == nil {
				s.close()
			}
			return time.Since(began), err
		}
		if d, err := took(); d != 50*time.Millisecond || err != down {
			t.Errorf("the first: %v after %s", err, d)
		}
		if d, err := took(); d != 0 || err != down {
			t.Errorf("the second: %v after %s", err, d)
		}
		time.Sleep(time.Minute)
		if n := dials.Load(); n < 45 || n > 90 {
			t.Errorf("%d attempts in a minute", n)
		}
		up.Store(true)
		l.hurry()
		if d, err := took(); d > 100*time.Millisecond || err != nil {
			t.Errorf("heard again: %v after %s", err, d)
		}
		before := dials.Load()
		if d, err := took(); d != 0 || err != nil || dials.Load() != before {
			t.Errorf("connected: %v after %s, %d more attempts", err, d, dials.Load()-before)
		}
		l.conn.fail(net.ErrClosed)
		if d, err := took(); d != 50*time.Millisecond || err != nil {
			t.Errorf("the connection was lost: %v after %s", err, d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		l.conn.fail(net.ErrClosed)
		if _, err := l.stream(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a caller that leaves: %v", err)
		}
		l.close()
		time.Sleep(time.Second) // the attempts end
		if _, err := l.stream(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	})
}
