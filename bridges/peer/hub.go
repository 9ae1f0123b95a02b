package peer

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"modelops/messages"
)

const (
	// HubSubjects begin the subjects of connections between hosts at the hub: HubSubjects + TO.FROM.CONNECTION.
	HubSubjects = "modelops.v1.hub."

	theHub = "the hub" // where an address stands: no host has one like it

	// hubTick is how often both ends of a connection tell how far they are. One that is silent for hubSilence is over, as TCP's keepalive has it.
	hubTick    = time.Second
	hubSilence = 5 * time.Second
	// mostHubConns may be open. Strangers who can publish at the hub take none of the members' for longer than a handshake.
	mostHubConns = 1024

	hubWaiting, hubWaitingBytes = 1 << 16, 256 << 20 // messages and bytes of all connections that were not looked at yet
)

// The first byte of a message says what it is. open and accept are that byte alone.
const (
	frameOpen   = 'o' // a new connection; where nobody listens, NATS says so to its reply subject
	frameAccept = 'a'
	frameBytes  = 'b' // the number of such messages before it, and bytes
	frameTick   = 't' // bytes that were read, and messages of bytes that were sent
	frameClose  = 'c'
)

// hub carries connections between hosts as messages of a NATS cluster. What travels is the TLS of the hosts' own certificates: who can publish at the
// hub can end a connection, and can neither read it nor speak in it.
type hub struct {
	nc     *nats.Conn
	host   string
	accept func(net.Conn) // must not wait; the connections that other hosts open

	taking sync.Mutex // held while a message is looked at

	mu     sync.Mutex
	conns  map[hubKey]*hubConn
	sub    *nats.Subscription
	closed bool
}

type hubKey struct{ host, id string }

func (h *hub) subject(to, from, id string) string { return HubSubjects + to + "." + from + "." + id }

// listen begins to take messages for this host.
func (h *hub) listen() error {
	sub, err := h.nc.Subscribe(HubSubjects+h.host+".>", h.take)
	if err == nil {
		err = sub.SetPendingLimits(hubWaiting, hubWaitingBytes)
	}
	h.sub = sub
	return err
}

// take gets every message for this host, one after another. It never waits.
func (h *hub) take(m *nats.Msg) {
	h.taking.Lock()
	defer h.taking.Unlock()
	from, id, ok := strings.Cut(strings.TrimPrefix(m.Subject, HubSubjects+h.host+"."), ".")
	if !ok || !messages.PlainName.MatchString(from) || strings.Contains(id, ".") {
		return
	}
	key := hubKey{from, id}
	h.mu.Lock()
	c := h.conns[key]
	if c == nil && !h.closed && len(m.Data) == 1 && m.Data[0] == frameOpen && len(h.conns) < mostHubConns {
		c = h.add(key)
		h.mu.Unlock()
		c.say([]byte{frameAccept})
		h.accept(c)
		return
	}
	h.mu.Unlock()
	switch {
	case c != nil && m.Header.Get("Status") == "503":
		c.fail(errors.New("it isn't at the hub"))
	case c != nil:
		c.take(m.Data)
	case len(m.Data) > 0 && m.Data[0] != frameClose: // of a connection that was lost here
		_ = h.nc.Publish(h.subject(from, h.host, id), []byte{frameClose})
	}
}

// add makes a connection. The caller holds h.mu.
func (h *hub) add(key hubKey) *hubConn {
	c := newHubConn(h, key)
	h.conns[key] = c
	return c
}

// dial opens a connection to a host.
func (h *hub) dial(ctx context.Context, host string) (net.Conn, error) {
	if !h.nc.IsConnected() {
		return nil, errors.New("the embedded NATS server is down")
	}
	key := hubKey{host, rand.Text()}
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil, net.ErrClosed
	}
	c := h.add(key)
	h.mu.Unlock()
	m := nats.NewMsg(c.out)
	m.Reply, m.Data = h.subject(h.host, host, key.id), []byte{frameOpen}
	if err := h.nc.PublishMsg(m); err != nil {
		c.fail(err)
		return nil, err
	}
	select {
	case <-c.accepted:
		return c, nil
	case <-c.over:
		return nil, c.reason()
	case <-ctx.Done():
		c.fail(context.Cause(ctx))
		return nil, ctx.Err()
	}
}

// run keeps the connections alive until ctx ends, and then ends them.
func (h *hub) run(ctx context.Context) {
	tick := time.NewTicker(hubTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			h.close()
			return
		case now := <-tick.C:
			for _, c := range h.open() {
				c.tick(now)
			}
		}
	}
}

func (h *hub) open() (all []*hubConn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.conns {
		all = append(all, c)
	}
	return all
}

func (h *hub) forget(key hubKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, key)
}

func (h *hub) close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	if h.sub != nil {
		_ = h.sub.Unsubscribe()
	}
	h.taking.Lock() // nothing is accepted after this
	h.taking.Unlock()
	for _, c := range h.open() {
		_ = c.Close()
	}
	_ = h.nc.FlushTimeout(reconnectWait) // the other ends learn at once
}

// enter serves a connection that another host opened at the hub.
func (p *Peers) enter(c net.Conn) {
	if p.o.Trust.Server() == nil { // without certificates nobody would know who it is
		_ = c.Close()
		return
	}
	p.pending.add(c)
	p.work.Go(func() { p.receive(c) })
}

// overHub opens a connection to a host at the hub, and makes sure that it is the host.
func (p *Peers) overHub(ctx context.Context, host string, cfg *tls.Config) (net.Conn, error) {
	if cfg == nil {
		return nil, messages.Errorf(messages.FailedPrecondition, "host "+host, "hosts without certificates don't work together over the hub").WithHint(certificatesHint)
	}
	c, err := p.hub.dial(ctx, host)
	if err != nil {
		return nil, err
	}
	return secured(ctx, c, cfg)
}

// isOverHub tells whether a connection goes over the hub.
func isOverHub(c net.Conn) bool {
	if secure, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = secure.NetConn()
	}
	_, ok := c.(*hubConn)
	return ok
}

func frame(kind byte, a uint64, rest []byte) []byte {
	b := make([]byte, 0, 9+len(rest))
	return append(binary.BigEndian.AppendUint64(append(b, kind), a), rest...)
}
