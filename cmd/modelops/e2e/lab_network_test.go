//go:build e2e

package e2e_test

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// network is what lies between the hosts of a laboratory. Hosts are numbered from 1.
type network interface {
	// kind says in words how it is made.
	kind() string
	// address is where a host listens for the others; link is how one of them reaches a port there.
	address(host int) string
	link(w way, port int) (address string, err error)
	// inside does something at a host: a process started there is a process of that host.
	inside(host int, do func() error) error
	// dial opens a connection that begins at a host.
	dial(ctx context.Context, host int, address string) (net.Conn, error)
	// set rules what befalls packets on one way.
	set(w way, c condition)
	close()
}

// way is a direction between two hosts.
type way struct{ from, to int }

// condition is what befalls the packets on a way. The zero value is a good line.
type condition struct {
	cut   bool
	loss  float64 // 0 to 1
	delay time.Duration
	rate  int // bytes a second; 0 = unlimited
}

// line carries the packets of one way in their order.
type line struct {
	mu    sync.Mutex
	rules condition
	queue chan parcel
	free  time.Time // when the line has sent what it has taken
	out   func(packet []byte)
}

type parcel struct {
	packet []byte
	due    time.Time
}

// lineQueue is how many packets wait on a line; further ones are lost, as in a router.
const lineQueue = 2000

func newLine(out func([]byte)) *line {
	return &line{queue: make(chan parcel, lineQueue), out: out}
}

func (l *line) set(c condition) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rules = c
}

// take carries a packet or loses it. It never waits.
func (l *line) take(packet []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, now := l.rules, time.Now()
	if c.cut || c.loss > 0 && rand.Float64() < c.loss {
		return
	}
	if l.free.Before(now) {
		l.free = now
	}
	if c.rate > 0 {
		l.free = l.free.Add(time.Duration(float64(len(packet)) / float64(c.rate) * float64(time.Second)))
	}
	select {
	case l.queue <- parcel{packet: append([]byte(nil), packet...), due: l.free.Add(c.delay)}:
	default:
	}
}

// carry delivers until the context ends. What was taken before a cut is lost with it.
func (l *line) carry(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-l.queue:
			if wait := time.Until(p.due); wait > 0 {
				due(p.due)
			}
			l.mu.Lock()
			cut := l.rules.cut
			l.mu.Unlock()
			if !cut {
				l.out(p.packet)
			}
		}
	}
}
