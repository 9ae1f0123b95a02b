package peer

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"modelops/messages"
)

const (
	handshakeTime = 5 * time.Second
	// mostPending connections may be in their handshake. A further one ends the oldest: a host says at once who it is, a stranger may not.
	mostPending = 64
	// mostConns a member may have for one protocol, and strangers together for one that is open to them.
	mostConns = 64

	natsProtocol = "nats"
)

// Handler serves connections of a protocol.
type Handler struct {
	// Strangers are let in too: hosts that aren't members yet.
	Strangers bool
	// Greet says what follows the OK; nil = nothing. Its error refuses the connection.
	Greet func(host string) (string, error)
	// Serve gets the connection and closes it.
	Serve func(*Conn)
}

// Handle registers the handler of a protocol. One without a handler is refused.
func (p *Peers) Handle(protocol string, h Handler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handlers[protocol] = h
}

// accept takes connections until the listener ends.
func (p *Peers) accept() {
	for {
		c, err := p.o.Listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed) || p.life.Err() != nil:
			return
		case err != nil: // no descriptors: others have to close first
			select {
			case <-p.life.Done():
			case <-time.After(50 * time.Millisecond):
			}
			continue
		}
		p.pending.add(c)
		p.work.Go(func() { p.receive(c) })
	}
}

// receive finds out who is there and what for, within the time of a handshake.
func (p *Peers) receive(raw net.Conn) {
	_ = raw.SetDeadline(time.Now().Add(handshakeTime))
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetKeepAliveConfig(keepAlive)
	}
	c, h, err := p.admit(raw)
	if !p.pending.remove(raw) || err != nil {
		_ = raw.Close()
		if c != nil {
			_ = c.Close()
		}
		return
	}
	_ = raw.SetDeadline(time.Time{})
	h.Serve(c)
}

// admit reads the preamble and answers it.
func (p *Peers) admit(raw net.Conn) (*Conn, Handler, error) {
	in, cfg := raw, p.o.Trust.Server()
	if cfg != nil {
		secure := tls.Server(raw, cfg)
		if err := secure.HandshakeContext(p.life); err != nil {
			return nil, Handler{}, err
		}
		in = secure
	}
	line, err := readLine(in)
	if err != nil {
		return nil, Handler{}, err
	}
	g, ok := parseGreeting(line)
	if !ok {
		return nil, Handler{}, p.refuse(in, strange(line))
	}
	h, err := p.handlerOf(in, g)
	if err != nil {
		return nil, h, p.refuse(in, err)
	}
	c, err := p.enroll(in, g, h)
	if err != nil {
		return nil, h, p.refuse(in, err)
	}
	if _, err := p.handlerOf(in, g); err != nil { // it was removed meanwhile: what is enrolled from now on, the removal ends
		return c, h, p.refuse(in, err)
	}
	extra := ""
	if h.Greet != nil {
		if extra, err = h.Greet(g.host); err != nil {
			return c, h, p.refuse(in, err)
		}
		extra = " " + extra
	}
	_, err = io.WriteString(in, "OK"+extra+"\n")
	return c, h, err
}

// handlerOf checks that the client may use the protocol, as the host that it says it is.
func (p *Peers) handlerOf(c net.Conn, g greeting) (Handler, error) {
	p.mu.Lock()
	h, ok := p.handlers[g.protocol]
	p.mu.Unlock()
	if h.Strangers && !isOverHub(c) {
		return h, nil
	}
	if secure, is := c.(*tls.Conn); is && !names(secure.ConnectionState(), g.host) {
		return h, messages.Errorf(messages.PermissionDenied, "host "+g.host, "the connection has no certificate of the cluster for %s", g.host)
	}
	switch {
	case g.host == p.o.Host:
		return h, twoOfOneName(g.host)
	case !p.o.Trust.IsMember(g.host):
		return h, messages.Errorf(messages.PermissionDenied, "host "+g.host, "%s is no member of the cluster of %s", g.host, p.o.Host).
			WithHint("if it was removed, let it join again: modelops cluster invite on a member")
	case !ok:
		return h, messages.Errorf(messages.Unsupported, g.protocol, "%s doesn't speak %s here", p.o.Host, g.protocol)
	}
	return h, nil
}

func twoOfOneName(host string) *messages.Error {
	return messages.Errorf(messages.Conflict, "host "+host, "two hosts are named %s", host).WithHint("give one of them another name: host in its cluster.yaml, and a data_dir of its own")
}

func (p *Peers) refuse(c net.Conn, err error) error {
	e := messages.AsError(err)
	_, _ = io.WriteString(c, refusal(e))
	p.o.Log.Debug("a connection to the cluster port was refused", "from", c.RemoteAddr(), "error", e)
	return e
}

// enroll counts a connection.
func (p *Peers) enroll(in net.Conn, g greeting, h Handler) (*Conn, error) {
	key := g
	if h.Strangers {
		key.host = "" // names of strangers are free
	}
	c := &Conn{Conn: in, Host: g.host, Protocol: g.protocol}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life.Err() != nil {
		return nil, messages.NewError(messages.Unavailable, "host "+p.o.Host, "it is stopping")
	}
	open := p.conns[key]
	if len(open) >= mostConns {
		return nil, messages.Errorf(messages.BulkheadRejection, "host "+g.host, "it has %d connections for %s", len(open), g.protocol).WithRetry(time.Second)
	}
	if open == nil {
		open = map[*Conn]bool{}
		p.conns[key] = open
	}
	open[c] = true
	c.gone = func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if delete(open, c); len(open) == 0 && len(p.conns[key]) == 0 {
			delete(p.conns, key)
		}
	}
	return c, nil
}

// serveNATS joins a peer's connection with the embedded server.
func (p *Peers) serveNATS(c *Conn) {
	defer func() { _ = c.Close() }()
	in, err := p.o.Accounts.InProcessConn()
	if err != nil {
		return
	}
	p.work.Go(func() { _, _ = io.Copy(c, in); _ = c.Close(); _ = in.Close() })
	_, _ = io.Copy(in, c)
	_ = in.Close()
}

// pending are the connections that haven't said yet who they are, the oldest first.
type pending struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (q *pending) add(c net.Conn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.conns) >= mostPending {
		_ = q.conns[0].Close()
		q.conns = q.conns[1:]
	}
	q.conns = append(q.conns, c)
}

// remove tells whether the connection was still there.
func (q *pending) remove(c net.Conn) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range q.conns {
		if q.conns[i] == c {
			q.conns = append(q.conns[:i:i], q.conns[i+1:]...)
			return true
		}
	}
	return false
}

func (q *pending) closeAll() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, c := range q.conns {
		_ = c.Close()
	}
}

// closeConns ends the connections of a host; all when it is empty.
func (p *Peers) closeConns(host string) {
	p.mu.Lock()
	var ended []*Conn
	for key, open := range p.conns {
		for c := range open {
			if host == "" || key.host == host {
				ended = append(ended, c)
			}
		}
	}
	p.mu.Unlock()
	for _, c := range ended {
		_ = c.Close()
	}
}
