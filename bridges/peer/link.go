package peer

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"modelops/messages"
)

const (
	helloEvery    = time.Second
	pingEvery     = 900 * time.Millisecond
	pingsOut      = 2 // a pulled cable is noticed at the third ping, within 3 s
	reconnectWait = 200 * time.Millisecond
	writeTime     = 2 * time.Second

	userOf  = "peer "   // of the journal's server, and our name
	inboxOf = "_INBOX_" // and our name: the only inbox that our account has there
)

// link is our connection to a peer's embedded server. It is up from the hello in which both sides' protocols fit until the connection breaks.
type link struct {
	p    *Peers
	host string
	nc   *nats.Conn

	life  context.Context
	end   context.CancelCauseFunc
	wake  chan struct{} // a connection came about
	beats chan []byte   // the newest heartbeat

	mu     sync.Mutex
	secret string          // of the connection that is being opened
	byHub  bool            // the connection goes over the hub
	up     context.Context // ends with the connection; nil = the link is down
	drop   context.CancelCauseFunc
	reason string // why it is down
	boot   string // of the host's start that said hello
	said   *messages.PeerHello
	rtt    time.Duration
	offset time.Duration
	waits  context.CancelCauseFunc // ends the hello that waits for its answer; nil = none does
}

func (p *Peers) newLink(host string) (*link, error) {
	l := &link{p: p, host: host, wake: make(chan struct{}, 1), beats: make(chan []byte, 1), reason: "it hasn't been reached yet"}
	l.life, l.end = context.WithCancelCause(p.life)
	signal := func(*nats.Conn) { l.connected() }
	nc, err := nats.Connect("nats://127.0.0.1:7422", // the dialer knows the address
		nats.SetCustomDialer(dialer{l}), nats.UserInfoHandler(l.credentials), nats.CustomInboxPrefix(inboxOf+p.o.Host), nats.Name(p.o.Host),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait), nats.ReconnectJitter(0, 0), nats.Timeout(dialTime),
		nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(pingsOut), nats.FlusherTimeout(writeTime), nats.ReconnectBufSize(-1),
		nats.IgnoreDiscoveredServers(), nats.IgnoreAuthErrorAbort(), nats.NoEcho(),
		nats.ConnectHandler(signal), nats.ReconnectHandler(signal),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { l.broke(err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { p.o.Log.Debug("link", "host", host, "error", err) }))
	if err != nil {
		return nil, err
	}
	l.nc = nc
	return l, nil
}

// dialer opens a link's connections through the cluster port.
type dialer struct{ l *link }

// Dial implements nats.CustomDialer.
func (d dialer) Dial(string, string) (net.Conn, error) {
	c, secret, err := d.l.p.dialAnew(d.l.life, d.l.host, natsProtocol)
	d.l.mu.Lock()
	defer d.l.mu.Unlock()
	d.l.secret, d.l.byHub = secret, err == nil && isOverHub(c)
	if err != nil {
		d.l.reason = messages.AsError(err).Message
	}
	return c, err
}

func (l *link) credentials() (user, password string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return userOf + l.p.o.Host, l.secret
}

func (l *link) connected() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// broke ends the requests that wait for an answer over the connection.
func (l *link) broke(err error) {
	why := "the link to it broke"
	if err != nil {
		why += ": " + whyNot(err)
	}
	l.fail(unreachable(l.host, why))
}

// fail takes the link down.
func (l *link) fail(why *messages.Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reason = why.Message
	if l.waits != nil {
		l.waits(why)
	}
	if l.up == nil {
		return
	}
	l.drop(why)
	l.up, l.drop = nil, nil
	l.p.o.Log.Info("the link to a host is down", "host", l.host, "why", why.Message)
}

// run says hello when a connection came about, and each second from then on.
func (l *link) run() {
	defer l.nc.Close()
	tick := time.NewTicker(helloEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.life.Done():
			return
		case <-l.wake:
		case <-tick.C:
		}
		if l.nc.IsConnected() {
			l.hello()
		}
	}
}

// beating sends heartbeats.
func (l *link) beating() {
	for {
		select {
		case <-l.life.Done():
			return
		case body := <-l.beats:
			if _, err := l.alive(); err == nil {
				_ = l.nc.Publish(subject("beat"), body) // the next one comes soon
			}
		}
	}
}

// beat replaces a heartbeat that wasn't sent yet.
func (l *link) beat(body []byte) {
	for {
		select {
		case l.beats <- body:
			return
		default:
		}
		select {
		case <-l.beats:
		default:
		}
	}
}

// flush sends the heartbeat that waits.
func (l *link) flush() {
	if _, err := l.alive(); err != nil {
		return
	}
	select {
	case body := <-l.beats:
		_ = l.nc.Publish(subject("beat"), body)
	default:
	}
	_ = l.nc.FlushTimeout(reconnectWait)
}

func (l *link) close() {
	why := unreachable(l.host, "it is no member of the cluster any more")
	if stopping := new(messages.Error); errors.As(context.Cause(l.p.life), &stopping) {
		why = stopping
	}
	l.end(why)
	l.fail(why)
	l.nc.Close()
}

// alive is the life of the connection over which the link is up; the error says why it is down.
func (l *link) alive() (context.Context, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.up == nil {
		why := messages.NewError(messages.Unavailable, "host "+l.host, l.reason).WithRetry(time.Second)
		if prefix := "host " + l.host + " can't be reached: "; len(l.reason) < len(prefix) || l.reason[:len(prefix)] != prefix {
			why.Message = prefix + l.reason
		}
		return nil, why
	}
	return l.up, nil
}

func (l *link) facts() messages.Link {
	from, address := l.p.heardFrom(l.host), l.p.addressOf(l.host)
	l.mu.Lock()
	defer l.mu.Unlock()
	f := messages.Link{Host: l.host, Address: address, To: l.up != nil, ByHub: l.up != nil && l.byHub, From: from, RTT: l.rtt, ClockOffset: l.offset, Version: l.said.GetVersion(), Protocol: l.said.GetProtocol()}
	if !f.To {
		f.Reason = l.reason
	}
	if note := clockNote(l.host, l.offset); note != "" && f.To {
		f.Notes = append(f.Notes, note)
	}
	return f
}
