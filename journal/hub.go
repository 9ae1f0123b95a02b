package journal

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"modelops/messages"
)

// Hub is an existing NATS cluster that the embedded server joins as a leaf.
type Hub struct {
	// URLs of its leafnode listeners. A user and a password in one are presented there.
	URLs        []*url.URL
	Credentials string // file of a user's JWT and seed; empty = none
	TLS         *tls.Config
}

const (
	// hubAccount is the only account that the hub sees. Nothing lives in it but what goes to the hub, so a client of the hub reaches no journal and no door.
	hubAccount = "HUB"

	hubReconnect = 500 * time.Millisecond
)

// join makes the server a leaf of the hub.
func (h *Hub) join(o *server.Options) {
	if h == nil {
		return
	}
	o.Accounts = append(o.Accounts, server.NewAccount(hubAccount))
	o.LeafNode.ReconnectInterval = hubReconnect
	o.LeafNode.Remotes = []*server.RemoteLeafOpts{{LocalAccount: hubAccount, URLs: h.URLs, Credentials: h.Credentials, TLS: h.TLS != nil, TLSConfig: h.TLS, TLSTimeout: authLimit.Seconds(), NoRandomize: true}}
}

// streams gives the journal's account its streams. A server with another account configured leaves that to each account.
func (h *Hub) streams(s *server.Server) error {
	if h == nil || !s.JetStreamEnabled() {
		return nil
	}
	return s.GlobalAccount().EnableJetStream(nil, nil)
}

// ConnectHub opens an in-process connection whose subjects reach the hub and its other leaves; the caller closes it.
func (j *Journal) ConnectHub(opts ...nats.Option) (*nats.Conn, error) {
	return j.connect(doorUser+hubAccount, append([]nats.Option{nats.CustomInboxPrefix(PeerInbox(j.o.Host))}, opts...)...)
}

// VisitHub joins a hub without a journal, as a host that is stopped, until end is called, and waits for the JetStream of its domain.
func VisitHub(ctx context.Context, h *Hub, domain, host string) (_ *nats.Conn, end func(), err error) {
	o := &server.Options{ServerName: host, DontListen: true, NoSigs: true, NoLog: true, MaxPayload: defaultMaxPayload} // a read decision comes as base64
	h.join(o)
	o.Users = []*server.User{{Username: hubAccount, Password: hubAccount, Account: o.Accounts[0]}}
	s, err := server.NewServer(o)
	if err != nil {
		return nil, nil, messages.Errorf(messages.Internal, "the hub", "a server for it refuses its options: %w", err)
	}
	stop := func() { s.Shutdown(); s.WaitForShutdown() }
	var said atomic.Pointer[string]
	s.SetLogger(&natsLog{log: slog.New(slog.DiscardHandler), hub: func(line string) bool { said.Store(&line); return true }}, false, false)
	s.Start()
	ctx, cancel := context.WithTimeout(ctx, archiveLimit)
	defer cancel()
	for s.NumLeafNodes() == 0 {
		select {
		case <-ctx.Done():
			stop()
			why := "it doesn't answer"
			if line := said.Load(); line != nil {
				why = *line
			}
			return nil, nil, messages.Errorf(messages.Unavailable, "nats.hub", "it isn't reached: %s", why)
		case <-time.After(reconnectWait):
		}
	}
	nc, err := nats.Connect("", nats.InProcessServer(s), nats.UserInfo(hubAccount, hubAccount), nats.CustomInboxPrefix(PeerInbox(host)))
	if err != nil {
		stop()
		return nil, nil, messages.Errorf(messages.Unavailable, "the hub", "%w", err)
	}
	end = func() { nc.Close(); stop() }
	if err := answering(ctx, nc, domain, host); err != nil {
		end()
		return nil, nil, err
	}
	return nc, end, nil
}

// answering waits for the hub's JetStream: what it listens to is known here a moment after the leaf is connected.
func answering(ctx context.Context, nc *nats.Conn, domain, host string) error {
	js, err := jetstream.NewWithDomain(nc, domain)
	if err != nil {
		return messages.Errorf(messages.InvalidArgument, "nats.hub_domain", "%w", err)
	}
	for {
		_, err := archivesOf(ctx, js, host)
		if !errors.Is(err, nats.ErrNoResponders) && !errors.Is(err, jetstream.ErrJetStreamNotEnabled) {
			return nil // another error is for who reads
		}
		select {
		case <-ctx.Done():
			return messages.Errorf(messages.Unavailable, "nats.hub", "no JetStream of domain %q answers there: %w", domain, err).WithHint("nats.hub_domain must be the domain of the hub's JetStream")
		case <-time.After(reconnectWait):
		}
	}
}

// HubUp tells whether the server is connected to the hub, and why not, as far as it has said so.
func (j *Journal) HubUp() (up bool, why string) {
	s := j.server.Load()
	if s != nil && s.NumLeafNodes() > 0 {
		return true, ""
	}
	if said := j.hubSaid.Load(); said != nil {
		return false, *said
	}
	return false, "it has not been reached yet"
}

// ofHub takes the server's lines about the connection to the hub. It tries twice a second, so the log has a line a minute.
func (j *Journal) ofHub(line string) bool {
	_, said, fromLeaf := strings.Cut(line, " - lid:")
	if _, rest, ok := strings.Cut(said, " - "); ok {
		said = rest
	}
	if !fromLeaf {
		if !strings.Contains(line, "remote leafnode server") && !strings.Contains(line, "leafnode to remote server") && !strings.Contains(line, "LeafNode Remote") {
			return false
		}
		said = line
	}
	if strings.Contains(said, hubHandshake) {
		if before := j.hubSaid.Load(); before != nil && strings.Contains(*before, "handshake error") { // the line before says more
			return true
		}
	}
	said = hubWords(said)
	j.hubSaid.Store(&said)
	if strings.Contains(said, "Maximum Payload") {
		j.hubTooLarge.Add(1)
	}
	if j.hubLines.due(said, time.Now()) {
		j.o.Log.Warn("the hub isn't reached", "why", said)
	}
	return true
}

// hubWords says what to do about what the server says of the hub.
func hubWords(said string) string {
	for _, w := range []struct{ sign, means string }{
		{"Authorization Violation", "the hub refuses this host's user; correct nats.hub_user and the file of nats.hub_password_file, or nats.hub_credentials, or the hub"},
		{"Authentication", "the hub refuses this host's user; correct nats.hub_user and the file of nats.hub_password_file, or nats.hub_credentials, or the hub"},
		{"redential", "the file of nats.hub_credentials can't be used"},
		{"unknown authority", "nats.hub_ca isn't the CA of the hub's certificate, or is missing"},
		{"x509:", "the hub's certificate isn't good for its address in nats.hub"},
		{hubHandshake, "the hub doesn't speak TLS there, and nats.hub or nats.hub_ca ask for it"},
	} {
		if strings.Contains(said, w.sign) {
			return w.means + ": " + said
		}
	}
	return said
}

// reasons lets a log line a minute through for each reason, so that a new one is said at once. Numbers in it don't count: a port is another one each time.
type reasons struct {
	mu   sync.Mutex
	said map[string]*minutely
}

// mostReasons is how many reasons are told apart; those beyond share a line a minute.
const mostReasons = 16

func (r *reasons) due(why string, now time.Time) bool {
	kind := strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' {
			return -1
		}
		return c
	}, why)
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.said[kind]
	if m == nil && len(r.said) >= mostReasons {
		kind = ""
		m = r.said[kind]
	}
	if m == nil {
		if r.said == nil {
			r.said = map[string]*minutely{}
		}
		m = new(minutely)
		r.said[kind] = m
	}
	return m.due(now)
}
