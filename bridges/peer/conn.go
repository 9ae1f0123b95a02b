package peer

import (
	"context"
	"net"
	"sync"
)

// Conn is a connection that another host opened on the cluster port, after the preamble. Who gets it closes it.
type Conn struct {
	net.Conn
	Host     string // the member that opened it; of a protocol for strangers, what it calls itself
	Protocol string

	closed sync.Once
	gone   func()
}

// Close ends the connection.
func (c *Conn) Close() error {
	err := c.Conn.Close()
	c.closed.Do(c.gone)
	return err
}

// RemoteAddr names the host, and is its address.
func (c *Conn) RemoteAddr() net.Addr { return Addr{Addr: c.Conn.RemoteAddr(), Host: c.Host} }

// Addr is the address of another host's connection.
type Addr struct {
	net.Addr
	Host string
}

// Listen gives the connections of a protocol to a server that wants a listener. They are of members only.
func (p *Peers) Listen(protocol string) net.Listener {
	l := &listener{p: p, conns: make(chan *Conn)}
	l.life, l.end = context.WithCancel(p.life)
	p.Handle(protocol, Handler{Serve: l.give})
	return l
}

type listener struct {
	p     *Peers
	conns chan *Conn
	life  context.Context
	end   context.CancelFunc
}

func (l *listener) give(c *Conn) {
	select {
	case l.conns <- c:
	case <-l.life.Done():
		_ = c.Close()
	}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.life.Done():
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error { l.end(); return nil }

func (l *listener) Addr() net.Addr { return l.p.o.Listener.Addr() }
