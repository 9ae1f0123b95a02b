package journal

import (
	"crypto/rand"
	"crypto/sha256"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"modelops/messages"
)

const (
	peerUser    = "peer " // and the host's name: the user of another host's link
	peerAccount = "PEER_"

	// PeerSubjects are what another host may publish to in its account, PeerInbox what it may subscribe to.
	PeerSubjects = "peer.v1.>"

	secretLimit = 30 * time.Second // as long as a connection may take to say whose it is, and some more
	maxSecrets  = 256
)

// PeerInbox is the prefix of the inboxes of a host's links.
func PeerInbox(host string) string { return "_INBOX_" + host }

// PeerDoor serves what other hosts of the cluster ask.
type PeerDoor interface {
	// EnterPeer serves the account of a host over nc until leave is called. nc stays the journal's.
	EnterPeer(host string, nc *nats.Conn) (leave func(), err error)
}

// peers keeps an account of its own for each other host of the cluster, without JetStream. So the account in which a message arrives says which host sent it.
type peers struct {
	j *Journal

	mu       sync.Mutex // never held while the server calls for a connection of the door
	door     PeerDoor
	accounts map[string]*peer
	secrets  map[[sha256.Size]byte]secret
}

// peer is the account of one host.
type peer struct {
	nc       *nats.Conn
	leave    func()
	sessions map[uint64]bool // by the connection's id
}

// secret admits one connection of a host.
type secret struct {
	host  string
	until time.Time
}

// ServePeers has door serve the accounts of other hosts, until stop. Before, no peer is admitted.
func (j *Journal) ServePeers(door PeerDoor) (stop func()) {
	p := &j.peers
	p.mu.Lock()
	defer p.mu.Unlock()
	p.door = door
	return func() {
		p.mu.Lock()
		p.door = nil
		hosts := slices.Collect(maps.Keys(p.accounts))
		p.mu.Unlock()
		for _, host := range hosts {
			j.DropPeer(host)
		}
	}
}

// AdmitPeer makes the secret with which one connection of a host is let in as user `peer HOST`, within half a minute. The caller has made sure
// that it gives the secret to that host.
func (j *Journal) AdmitPeer(host string) (string, error) {
	p := &j.peers
	if err := p.serve(host); err != nil {
		return "", err
	}
	text := rand.Text()
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(p.secrets, func(_ [sha256.Size]byte, s secret) bool { return !s.until.After(now) })
	if len(p.secrets) >= maxSecrets {
		return "", messages.NewError(messages.BulkheadRejection, "host "+host, "too many hosts are being let in").WithRetry(time.Second)
	}
	if p.secrets == nil {
		p.secrets = map[[sha256.Size]byte]secret{}
	}
	p.secrets[sha256.Sum256([]byte(text))] = secret{host: host, until: now.Add(secretLimit)}
	return text, nil
}

// serve has the door serve the account of a host, before any connection of the host is let in.
func (p *peers) serve(host string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.door == nil {
		return messages.NewError(messages.Unavailable, "host "+host, "this host serves no other hosts now").WithRetry(time.Second)
	}
	if p.accounts[host] != nil {
		return nil
	}
	nc, err := p.j.connect(doorUser + peerAccount + host)
	if err != nil {
		return err
	}
	leave, err := p.door.EnterPeer(host, nc)
	if err != nil {
		nc.Close()
		return err
	}
	if p.accounts == nil {
		p.accounts = map[string]*peer{}
	}
	p.accounts[host] = &peer{nc: nc, leave: leave, sessions: map[uint64]bool{}}
	return nil
}

// check lets in a connection that presents a secret. It is called by the server, and the secret counts once.
func (p *peers) check(s *server.Server, c server.ClientAuthentication) bool {
	host, ok := strings.CutPrefix(c.GetOpts().Username, peerUser)
	if !ok {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	sum := sha256.Sum256([]byte(c.GetOpts().Password))
	known, ok := p.secrets[sum]
	if !ok || known.host != host || !known.until.After(time.Now()) || p.accounts[host] == nil {
		return false
	}
	delete(p.secrets, sum)
	account, _ := s.LookupOrRegisterAccount(peerAccount + host)
	c.RegisterUser(&server.User{Username: peerUser + host, Account: account, Permissions: &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{PeerSubjects}},
		Subscribe: &server.SubjectPermission{Allow: []string{PeerInbox(host) + ".>"}},
	}})
	at := p.accounts[host]
	maps.DeleteFunc(at.sessions, func(id uint64, _ bool) bool { return s.GetClient(id) == nil })
	at.sessions[c.GetID()] = true
	return true
}

// DropPeer ends the connections of a host and forgets its account. A member that is removed has no secrets any more either.
func (j *Journal) DropPeer(host string) {
	p := &j.peers
	p.mu.Lock()
	at := p.accounts[host]
	delete(p.accounts, host)
	maps.DeleteFunc(p.secrets, func(_ [sha256.Size]byte, s secret) bool { return s.host == host })
	p.mu.Unlock()
	if at == nil {
		return
	}
	if s := j.server.Load(); s != nil {
		for id := range at.sessions {
			_ = s.DisconnectClientByID(id) // it may have left already
		}
	}
	at.leave()
	at.nc.Close()
}
