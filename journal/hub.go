package journal

import (
	"crypto/tls"
	"net/url"
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

// HubUp tells whether the server is connected to the hub.
func (j *Journal) HubUp() bool {
	s := j.server.Load()
	return s != nil && s.NumLeafNodes() > 0
}
