//go:build e2e

package e2e_test

import (
	"context"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"time"
)

// proxies is a network for where namespaces aren't permitted: all hosts are on loopback, and each reaches another's ports through a proxy of its own. A cut
// lets bytes wait instead of losing packets, and a loss is the wait for the packet that is sent again.
type proxies struct {
	ctx  context.Context
	end  context.CancelFunc
	mu   sync.Mutex
	wake chan struct{} // closed when the rules change
	all  map[way]condition
	at   map[proxied]string
}

// proxied is a port of a host as another one reaches it.
type proxied struct {
	way
	port int
}

func openProxies() *proxies {
	n := &proxies{wake: make(chan struct{}), all: map[way]condition{}, at: map[proxied]string{}}
	n.ctx, n.end = context.WithCancel(context.Background())
	return n
}

func (n *proxies) kind() string                        { return "loopback, with proxies that cut" }
func (n *proxies) address(int) string                  { return "127.0.0.1" }
func (n *proxies) inside(_ int, do func() error) error { return do() }
func (n *proxies) close()                              { n.end() }

func (n *proxies) dial(ctx context.Context, _ int, address string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp4", address)
}

func (n *proxies) set(w way, c condition) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all[w] = c
	close(n.wake)
	n.wake = make(chan struct{})
}

// passes waits until the way isn't cut, and tells what holds on it.
func (n *proxies) passes(w way) (condition, bool) {
	for {
		n.mu.Lock()
		c, wake := n.all[w], n.wake
		n.mu.Unlock()
		if !c.cut {
			return c, n.ctx.Err() == nil
		}
		select {
		case <-wake:
		case <-n.ctx.Done():
			return c, false
		}
	}
}

// link is the address by which a host reaches another's port.
func (n *proxies) link(w way, port int) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := proxied{w, port}
	if at, ok := n.at[key]; ok {
		return at, nil
	}
	socket, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	context.AfterFunc(n.ctx, func() { socket.Close() })
	n.at[key] = socket.Addr().String()
	go n.serve(socket, w, "127.0.0.1:"+strconv.Itoa(port))
	return n.at[key], nil
}

func (n *proxies) serve(socket net.Listener, w way, target string) {
	for {
		in, err := socket.Accept()
		if err != nil {
			return
		}
		go n.connect(in, w, target)
	}
}

// connect is one connection: as with a real one, both ways have to be good for it to begin.
func (n *proxies) connect(in net.Conn, w way, target string) {
	defer in.Close()
	back := way{w.to, w.from}
	for _, x := range []way{w, back} {
		if _, ok := n.passes(x); !ok {
			return
		}
	}
	out, err := n.dial(n.ctx, w.to, target)
	if err != nil {
		return
	}
	defer out.Close()
	stop := context.AfterFunc(n.ctx, func() { in.Close(); out.Close() })
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { n.pump(out, in, w) })
	both.Go(func() { n.pump(in, out, back) })
	both.Wait()
}

// resent is what a lost packet costs.
const resent = 200 * time.Millisecond

// pump copies one direction, late as its condition says, until its source ends.
func (n *proxies) pump(to, from net.Conn, w way) {
	queue := make(chan parcel, lineQueue)
	go func() {
		defer close(queue)
		for buf := make([]byte, 1500); ; {
			size, err := from.Read(buf)
			if err != nil {
				return
			}
			n.mu.Lock()
			c := n.all[w]
			n.mu.Unlock()
			late := c.delay
			if rand.Float64() < c.loss {
				late += resent
			}
			queue <- parcel{packet: append([]byte(nil), buf[:size]...), due: time.Now().Add(late)}
		}
	}()
	for p := range queue {
		if time.Until(p.due) > 0 {
			due(p.due)
		}
		c, ok := n.passes(w)
		if c.rate > 0 {
			due(time.Now().Add(time.Duration(float64(len(p.packet)) / float64(c.rate) * float64(time.Second))))
		}
		if _, err := to.Write(p.packet); err != nil || !ok {
			break
		}
	}
	to.Close()
	from.Close()
	for range queue { // the reader isn't left waiting
	}
}

// direct is loopback without proxies: nothing is harmed, and nothing is in the way of a measurement.
type direct struct{ *proxies }

func (direct) kind() string                         { return "loopback" }
func (direct) link(_ way, port int) (string, error) { return "127.0.0.1:" + strconv.Itoa(port), nil }
