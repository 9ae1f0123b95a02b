package journal

import (
	"crypto/tls"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
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
	return j.connect(doorUser+hubAccount, opts...)
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
	j.hubSaid.Store(&said)
	if j.hubLines.due(time.Now()) {
		j.o.Log.Warn("the hub isn't reached", "why", said)
	}
	return true
}
