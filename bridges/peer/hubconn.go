package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

const (
	hubFrame  = 32 << 10  // bytes of one message; servers take 1 MiB unless they are told otherwise
	hubWindow = 256 << 10 // bytes that are sent and not read yet
)

// hubConn is one end of a connection whose bytes travel as messages. NATS keeps the order of messages between two clients, and may lose some: they are
// counted, and a connection of which one is missing is over.
type hubConn struct {
	h        *hub
	key      hubKey
	out      string // subject of what it sends
	accepted chan struct{}
	over     chan struct{} // closed when it has ended

	reads, writes deadline

	mu       sync.Mutex
	changed  chan struct{} // closed and made anew when anything below changes
	err      error         // why it has ended; nil = it hasn't
	heard    time.Time
	in       []byte // bytes that were not read yet
	got      uint64 // messages of bytes that came
	read     uint64 // bytes
	told     uint64 // of read, to the other end
	sent     uint64 // messages of bytes
	sentAll  uint64 // bytes
	readAway uint64 // of sentAll, by the other end
}

var _ net.Conn = (*hubConn)(nil)

func newHubConn(h *hub, key hubKey) *hubConn {
	return &hubConn{h: h, key: key, out: h.subject(key.host, h.host, key.id), accepted: make(chan struct{}), over: make(chan struct{}), changed: make(chan struct{}),
		heard: time.Now(), reads: newDeadline(), writes: newDeadline()}
}

func (c *hubConn) say(body []byte) { _ = c.h.nc.Publish(c.out, body) }

// wake tells all who wait. The caller holds c.mu.
func (c *hubConn) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// take gets a message of the other end.
func (c *hubConn) take(body []byte) {
	c.mu.Lock()
	c.heard = time.Now()
	why := c.taken(body)
	c.mu.Unlock()
	if why != nil {
		c.fail(why)
	}
}

// taken is take, under c.mu; it says why the connection ends.
func (c *hubConn) taken(body []byte) error {
	kind, number, rest := byte(0), uint64(0), []byte(nil)
	if len(body) > 0 {
		kind = body[0]
	}
	if len(body) >= 9 {
		number, rest = binary.BigEndian.Uint64(body[1:]), body[9:]
	}
	switch kind {
	case frameAccept:
		select {
		case <-c.accepted:
		default:
			close(c.accepted)
		}
	case frameBytes:
		if number != c.got || len(rest) == 0 {
			return fmt.Errorf("the hub lost a part of it: message %d came after %d", number, c.got)
		}
		if len(c.in)+len(rest) > hubWindow {
			return errors.New("the other end sends more than it may")
		}
		c.in, c.got = append(c.in, rest...), c.got+1
		c.wake()
	case frameTick:
		if len(rest) != 8 || number > c.sentAll {
			return errors.New("the other end says what can't be")
		}
		if said := binary.BigEndian.Uint64(rest); said != c.got {
			return fmt.Errorf("the hub lost a part of it: %d messages of %d came", c.got, said)
		}
		c.readAway = max(c.readAway, number)
		c.wake()
	case frameClose:
		return io.EOF
	}
	return nil
}

// Read implements net.Conn. What came before the end is read first.
func (c *hubConn) Read(b []byte) (int, error) {
	for {
		c.mu.Lock()
		n, err, wait := c.readNow(b), c.err, c.changed
		c.mu.Unlock()
		switch {
		case c.reads.passed():
			return 0, os.ErrDeadlineExceeded
		case n > 0 || len(b) == 0 && err == nil:
			return n, nil
		case err != nil:
			return 0, err
		}
		select {
		case <-wait:
		case <-c.reads.wait():
		}
	}
}

// readNow reads what there is. The caller holds c.mu.
func (c *hubConn) readNow(b []byte) int {
	if errors.Is(c.err, net.ErrClosed) || c.reads.passed() {
		return 0
	}
	n := copy(b, c.in)
	if c.in = c.in[n:]; len(c.in) == 0 {
		c.in = nil
	}
	c.read += uint64(n)
	if c.read-c.told >= hubWindow/4 {
		c.tell()
	}
	return n
}

// tell says how far this end is. The caller holds c.mu.
func (c *hubConn) tell() {
	c.told = c.read
	c.say(frame(frameTick, c.read, binary.BigEndian.AppendUint64(nil, c.sent)))
}

// Write implements net.Conn. It waits while the other end doesn't read.
func (c *hubConn) Write(b []byte) (int, error) {
	written := 0
	for {
		c.mu.Lock()
		n, err, wait := 0, c.err, c.changed
		if err == nil && !c.writes.passed() {
			n, err = c.writeNow(b[written:])
		}
		c.mu.Unlock()
		written += n
		switch {
		case errors.Is(err, io.EOF):
			return written, io.ErrClosedPipe
		case err != nil:
			return written, err
		case c.writes.passed():
			return written, os.ErrDeadlineExceeded
		case written == len(b):
			return written, nil
		case n > 0:
			continue
		}
		select {
		case <-wait:
		case <-c.writes.wait():
		}
	}
}

// writeNow sends what the window lets through, in one message. The caller holds c.mu, so that messages go in the order of their numbers.
func (c *hubConn) writeNow(b []byte) (int, error) {
	n := min(len(b), hubFrame, int(hubWindow-(c.sentAll-c.readAway)))
	if n <= 0 {
		return 0, nil
	}
	if err := c.h.nc.Publish(c.out, frame(frameBytes, c.sent, b[:n])); err != nil {
		return 0, err
	}
	c.sent, c.sentAll = c.sent+1, c.sentAll+uint64(n)
	return n, nil
}

// tick tells the other end how far this one is, and ends a connection of which nothing is heard.
func (c *hubConn) tick(now time.Time) {
	c.mu.Lock()
	silent := now.Sub(c.heard)
	if silent < hubSilence && c.err == nil {
		c.tell()
	}
	c.mu.Unlock()
	if silent >= hubSilence {
		c.fail(fmt.Errorf("nothing was heard of it at the hub for %s", hubSilence))
	}
}

// fail ends the connection, and tells the other end.
func (c *hubConn) fail(why error) {
	c.mu.Lock()
	first := c.err == nil
	if first {
		c.err = why
		close(c.over)
		c.wake()
	}
	c.mu.Unlock()
	if !first {
		return
	}
	c.h.forget(c.key)
	if !errors.Is(why, io.EOF) {
		c.say([]byte{frameClose})
	}
}

func (c *hubConn) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close implements net.Conn.
func (c *hubConn) Close() error {
	c.fail(net.ErrClosed)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err, c.in = net.ErrClosed, nil
	c.wake()
	return nil
}

// LocalAddr implements net.Conn.
func (c *hubConn) LocalAddr() net.Addr { return hubAddr(c.h.host) }

// RemoteAddr implements net.Conn.
func (c *hubConn) RemoteAddr() net.Addr { return hubAddr(c.key.host) }

// hubAddr is a host at the hub.
type hubAddr string

func (hubAddr) Network() string  { return "hub" }
func (a hubAddr) String() string { return string(a) }

// SetDeadline implements net.Conn.
func (c *hubConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline implements net.Conn.
func (c *hubConn) SetReadDeadline(t time.Time) error { return c.until(&c.reads, t) }

// SetWriteDeadline implements net.Conn.
func (c *hubConn) SetWriteDeadline(t time.Time) error { return c.until(&c.writes, t) }

func (c *hubConn) until(d *deadline, t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(c.err, net.ErrClosed) {
		return net.ErrClosed
	}
	d.set(t)
	return nil
}

// deadline ends what waits, at a time that may be moved.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	gone  chan struct{} // closed when it has passed
}

func newDeadline() deadline { return deadline{gone: make(chan struct{})} }

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.gone // its function has run, or runs now and closes it
	}
	d.timer = nil
	select {
	case <-d.gone:
		d.gone = make(chan struct{})
	default:
	}
	if t.IsZero() {
		return
	}
	if left := time.Until(t); left > 0 {
		gone := d.gone
		d.timer = time.AfterFunc(left, func() { close(gone) })
		return
	}
	close(d.gone)
}

func (d *deadline) wait() chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.gone
}

func (d *deadline) passed() bool {
	select {
	case <-d.wait():
		return true
	default:
		return false
	}
}
