package journal

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

// strictHub runs a server of a hub on a port, until the returned function is called.
func strictHub(t *testing.T, port int, change func(*server.Options)) func() {
	t.Helper()
	o := &server.Options{ServerName: "hub", Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true}
	o.LeafNode.Host, o.LeafNode.Port = "127.0.0.1", port
	change(o)
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	end := sync.OnceFunc(func() { s.Shutdown(); s.WaitForShutdown() })
	t.Cleanup(end)
	return end
}

// operator is who may sign accounts of a hub, with one account.
type operator struct {
	t               *testing.T
	key, accountKey nkeys.KeyPair
	account         string
	claims          *jwt.OperatorClaims
	accountJWT      string
}

func newOperator(t *testing.T) *operator {
	t.Helper()
	o := &operator{t: t}
	var err error
	check := func() {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	o.key, err = nkeys.CreateOperator()
	check()
	public, err := o.key.PublicKey()
	check()
	o.claims = jwt.NewOperatorClaims(public)
	o.accountKey, err = nkeys.CreateAccount()
	check()
	o.account, err = o.accountKey.PublicKey()
	check()
	o.accountJWT, err = jwt.NewAccountClaims(o.account).Encode(o.key)
	check()
	return o
}

// rules makes a hub ask for credentials of this operator.
func (o *operator) rules(to *server.Options) {
	resolver := &server.MemAccResolver{}
	if err := resolver.Store(o.account, o.accountJWT); err != nil {
		o.t.Fatal(err)
	}
	to.TrustedOperators, to.AccountResolver = []*jwt.OperatorClaims{o.claims}, resolver
}

// credentials are those of a user of the account.
func (o *operator) credentials() []byte {
	user, err := nkeys.CreateUser()
	if err != nil {
		o.t.Fatal(err)
	}
	public, _ := user.PublicKey()
	token, err := jwt.NewUserClaims(public).Encode(o.accountKey)
	if err != nil {
		o.t.Fatal(err)
	}
	seed, _ := user.Seed()
	text, err := jwt.FormatUserConfig(token, seed)
	if err != nil {
		o.t.Fatal(err)
	}
	return text
}

// lines is a log that a test reads.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// A hub that asks for TLS, a password or credentials is joined with the right ones. With wrong ones it is said why, the journal works, and once the hub or the file
// is mended the host joins by itself.
func TestAHubThatAsksForProof(t *testing.T) {
	right, pool := selfSigned(t, 1)
	wrong, _ := selfSigned(t, 2)
	secured := func(c *tls.Certificate) func(*server.Options) {
		return func(o *server.Options) {
			o.LeafNode.TLSConfig, o.LeafNode.TLSTimeout = &tls.Config{Certificates: []tls.Certificate{*c}}, 30
		}
	}
	password := func(text string) func(*server.Options) {
		return func(o *server.Options) { o.LeafNode.Username, o.LeafNode.Password = "pc2", text }
	}
	open := func(*server.Options) {}
	trusted, stranger := newOperator(t), newOperator(t)
	file := filepath.Join(t.TempDir(), "hub.creds")
	put := func(o *operator) func() {
		return func() {
			if err := os.WriteFile(file, o.credentials(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	over := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	user := url.UserPassword("pc2", "right")

	for name, c := range map[string]proof{
		"TLS":                                  {hub: secured(right), host: Hub{TLS: over}},
		"TLS with a certificate of another CA": {hub: secured(wrong), host: Hub{TLS: over}, says: "nats.hub_ca isn't the CA", then: secured(right)},
		"TLS that the host wasn't told of":     {hub: secured(right), says: "nats.hub_ca isn't the CA of the hub's certificate, or is missing"},
		"a hub without TLS":                    {hub: open, host: Hub{TLS: over}, says: "doesn't speak TLS", then: secured(right)},
		"a password":                           {hub: password("right"), user: user},
		"another password":                     {hub: password("other"), user: user, says: "refuses this host's user", then: password("right")},
		"no password":                          {hub: password("right"), says: "refuses this host's user", then: open},
		"credentials":                          {hub: trusted.rules, host: Hub{Credentials: file}, file: put(trusted)},
		"credentials of a stranger":            {hub: trusted.rules, host: Hub{Credentials: file}, file: put(stranger), says: "refuses this host's user", mend: put(trusted)},
		"credentials of a stranger over TLS": {hub: func(o *server.Options) { secured(right)(o); trusted.rules(o) }, host: Hub{TLS: over, Credentials: file}, file: put(stranger),
			says: "refuses this host's user", mend: put(trusted)},
		"credentials that are none": {hub: trusted.rules, host: Hub{Credentials: file}, file: func() { _ = os.WriteFile(file, []byte("x"), 0o600) }, says: "can't be used", mend: put(trusted)},
	} {
		t.Run(name, c.run)
	}
}

// proof is a hub that asks for something, and a host that has it or not.
type proof struct {
	hub  func(*server.Options)
	host Hub
	user *url.Userinfo
	file func()                // makes the credentials
	says string                // why it isn't joined; empty = it is
	then func(*server.Options) // the hub that mends it; nil = it stays
	mend func()                // the file that mends it
}

func (c proof) run(t *testing.T) {
	if c.file != nil {
		c.file()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	end := strictHub(t, port, c.hub)
	said, h, o := new(lines), c.host, testOptions(t, t.TempDir())
	h.URLs = []*url.URL{{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", port), User: c.user}}
	o.Log, o.Hub = slog.New(slog.NewTextHandler(said, nil)), &h
	j := mustOpen(t, o)
	if c.says == "" {
		eventually(t, "it is joined", func() bool { up, _ := j.HubUp(); return up })
		return
	}
	var why string
	eventually(t, "it is said why", func() bool {
		var up bool
		if up, why = j.HubUp(); up {
			t.Fatal("it is joined")
		}
		return why != "it has not been reached yet"
	})
	if !strings.Contains(why, c.says) || !strings.Contains(said.String(), c.says) {
		t.Errorf("it says %q, and the log:\n%s", why, said)
	}
	fill(t, j, 3)
	switch {
	case c.then != nil:
		end()
		strictHub(t, port, c.then)
	case c.mend != nil:
		c.mend()
	default:
		return
	}
	eventually(t, "it is joined", func() bool { up, _ := j.HubUp(); return up })
}
