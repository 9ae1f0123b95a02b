package peer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const hangLimit = 30 * time.Second

// authority is a CA of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	a := authority{cert: cert, key: key, pool: x509.NewCertPool()}
	a.pool.AddCert(cert)
	return a
}

func (a authority) issue(t *testing.T, host string, until time.Time) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// trust is a Trust whose members a test changes.
type trust struct {
	ca   authority
	cert *tls.Certificate // nil = plain

	mu      sync.Mutex
	members map[string]string
	changed chan struct{}
	expels  string // is removed once somebody has asked for it
}

func (r *trust) Server() *tls.Config {
	if r.cert == nil {
		return nil
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*r.cert}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: r.ca.pool}
}

func (r *trust) Client(host string) *tls.Config {
	if r.cert == nil {
		return nil
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, ServerName: host, RootCAs: r.ca.pool, Certificates: []tls.Certificate{*r.cert}}
}

func (r *trust) IsMember(host string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.members[host]
	if host == r.expels {
		delete(r.members, host)
	}
	return ok
}

func (r *trust) Members() (out []Member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for host, address := range r.members {
		out = append(out, Member{host, address})
	}
	return out
}

func (r *trust) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

func (r *trust) set(change func(members map[string]string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r.members)
	close(r.changed)
	r.changed = make(chan struct{})
}

// accounts is a NATS server with an account for each peer, as the journal has it.
type accounts struct {
	t *testing.T
	*server.Server
	mu      sync.Mutex
	secrets map[string]string
	peers   *Peers
	served  map[string]func()
}

func newAccounts(t *testing.T) *accounts {
	a := &accounts{t: t, secrets: map[string]string{}, served: map[string]func(){}}
	s, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, CustomClientAuthentication: a})
	if err != nil {
		t.Fatal(err)
	}
	a.Server = s
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return a
}

func (a *accounts) Check(c server.ClientAuthentication) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	user := c.GetOpts().Username
	var host string
	if _, err := fmt.Sscanf(user, "peer %s", &host); err == nil {
		if a.secrets[c.GetOpts().Password] != host {
			return false
		}
		delete(a.secrets, c.GetOpts().Password)
	} else if _, err := fmt.Sscanf(user, "door %s", &host); err != nil {
		return false
	}
	account, _ := a.LookupOrRegisterAccount("PEER_" + host)
	c.RegisterUser(&server.User{Username: user, Account: account})
	return true
}

func (a *accounts) AdmitPeer(host string) (string, error) {
	a.mu.Lock()
	_, served := a.served[host]
	a.mu.Unlock()
	if !served {
		nc, err := nats.Connect("", nats.InProcessServer(a), nats.UserInfo("door "+host, "x"))
		if err != nil {
			return "", err
		}
		leave, err := a.peers.EnterPeer(host, nc)
		if err != nil {
			return "", err
		}
		a.mu.Lock()
		a.served[host] = func() { leave(); nc.Close() }
		a.mu.Unlock()
	}
	secret := rand.Text()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.secrets[secret] = host
	return secret, nil
}

func (a *accounts) DropPeer(host string) {
	a.mu.Lock()
	leave := a.served[host]
	delete(a.served, host)
	a.mu.Unlock()
	if leave != nil {
		leave()
	}
}

// door answers commands as the test says.
type door struct {
	ask func(ctx context.Context, to messages.ActorID, command proto.Message) (messages.Reply, error)
}

func (d door) Ask(ctx context.Context, to messages.ActorID, command proto.Message) (messages.Reply, error) {
	return d.ask(ctx, to, command)
}

func (d door) Tell(ctx context.Context, to messages.ActorID, command proto.Message) {
	_, _ = d.ask(ctx, to, command)
}

// side is one host of a test.
type side struct {
	*Peers
	trust *trust
	acc   *accounts
	beats chan *messages.Heartbeat
}

// startSide starts a host; members come later.
func startSide(t *testing.T, ca authority, cert *tls.Certificate, o Options) *side {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &side{trust: &trust{ca: ca, cert: cert, members: map[string]string{}, changed: make(chan struct{})}, acc: newAccounts(t), beats: make(chan *messages.Heartbeat, 64)}
	o.Listener, o.Trust, o.Accounts = l, s.trust, s.acc
	if o.BootID == "" {
		o.BootID = o.Host + " boot"
	}
	o.Heard = func(h *messages.Heartbeat, _ string) {
		select {
		case s.beats <- h:
		default:
		}
	}
	if o.Door == nil {
		o.Door = door{func(_ context.Context, to messages.ActorID, _ proto.Message) (messages.Reply, error) {
			return messages.Reply{Answer: &messages.HostView{BootId: to.String()}, Sequence: 7}, nil
		}}
	}
	s.Peers = New(o)
	s.acc.peers = s.Peers
	s.Start()
	t.Cleanup(func() {
		s.Close()
		for _, leave := range s.acc.served {
			leave()
		}
	})
	return s
}

func (s *side) knows(host, address string) {
	s.trust.set(func(m map[string]string) { m[host] = address })
}

func (s *side) up(host string) bool { l, _ := s.Link(host); return l.To && l.From }

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for until := time.Now().Add(hangLimit); !ok(); {
		if time.Now().After(until) {
			t.Fatal("waited in vain: " + what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// pair starts main_pc and pc2, linked over TLS.
func pair(t *testing.T, change func(a, b *Options)) (a, b *side) {
	t.Helper()
	ca := newAuthority(t)
	oa, ob := Options{Host: "main_pc", Version: "1"}, Options{Host: "pc2", Version: "2"}
	if change != nil {
		change(&oa, &ob)
	}
	year := time.Now().Add(time.Hour)
	a, b = startSide(t, ca, ca.issue(t, "main_pc", year), oa), startSide(t, ca, ca.issue(t, "pc2", year), ob)
	a.knows("pc2", b.Address())
	b.knows("main_pc", a.Address())
	return a, b
}

func linked(t *testing.T, change func(a, b *Options)) (a, b *side) {
	t.Helper()
	a, b = pair(t, change)
	await(t, "both links are up", func() bool { return a.up("pc2") && b.up("main_pc") })
	return a, b
}

func query(ctx context.Context, s *side, host string, to messages.ActorID) (messages.Reply, error) {
	return s.Ask(ctx, host, to, &messages.QueryView{})
}
