package forward

import (
	"net"
	"testing"
	"testing/synctest"
)

// TestStrangeFrames: a frame that can't be ends the connection, and with it what it carries.
func TestStrangeFrames(t *testing.T) {
	message := func(k kind, stream uint64) []byte {
		f, err := put(nil, k, stream, nil, []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	long := bare(nil, frameMore, 1, 0)
	long[0] = 0x7f
	flood := message(frameOpen, 1)
	for range 2 * window / piece {
		f, _ := put(nil, frameMore, 1, nil, make([]byte, piece))
		flood = append(flood, f...)
	}
	for name, sent := range map[string][]byte{
		"a head beyond its content": bare(nil, frameOpen, 1, 5),
		"too long":                  long,
		"two of one number":         append(message(frameOpen, 1), message(frameOpen, 1)...),
		"more after the last":       append(message(frameOpen|lastFlag, 1), message(frameMore, 1)...),
		"more than the window":      flood,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				began, ended := 0, 0 // at most one each
				c := newConn(far, func(s *stream) {
					began++
					go func() {
						<-s.ctx.Done()
						ended++
						s.finish(nil)
					}()
				})
				go c.run()
				_, _ = near.Write(sent)
				synctest.Wait()
				if !isOver(c) || ended != began {
					t.Errorf("over: %v; %d of %d ended", isOver(c), ended, began)
				}
				_ = near.Close()
			})
		})
	}
	t.Run("a stream at the end that asks", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			c := newConn(near, nil)
			go c.run()
			_, _ = far.Write(message(frameOpen, 1))
			if synctest.Wait(); !isOver(c) {
				t.Error("it goes on")
			}
			_ = far.Close()
		})
	})
}
