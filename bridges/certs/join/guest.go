package join

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"modelops/bridges/certs"
	"modelops/messages"
)

// dialTime bounds one attempt to connect.
const dialTime = 5 * time.Second

// defaultPort is where a cluster port is when an address names none.
const defaultPort = "7422"

// GuestOptions are of a host that wants to join.
type GuestOptions struct {
	DataDir, Host string
	Join          string // address of the host that invited; empty = those of the token
	Token         string
	Advertise     string // where this host wants to be reached; empty = Port at the address from which it connects
	Port          int
	Version       string           // of modelops
	Free          func() error     // says why nothing may change now; nil = it may
	Now           func() time.Time // nil = time.Now
}

type guest struct {
	o     GuestOptions
	token Token
}

// Join makes this host a member. One that has joined by the same token is one already, and nothing is asked.
func Join(ctx context.Context, o GuestOptions) (joined bool, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	g := &guest{o: o}
	if g.token, err = ParseToken(o.Token); err != nil {
		return false, err
	}
	switch {
	case !messages.PlainName.MatchString(o.Host):
		return false, messages.Errorf(messages.InvalidArgument, "host", "%.100q can't be the name of a host of a cluster", o.Host).WithHint(messages.GoodPlainName + ": host in cluster.yaml")
	case o.Host == g.token.Host:
		return false, messages.Errorf(messages.Conflict, "host "+o.Host, "the token is one of %s, and this host is %s too: a host can't join itself", g.token.Host, o.Host).
			WithHint("run the command on the other host. If this is another one, give it another name: host in its cluster.yaml")
	}
	dir := certs.ClusterDir(o.DataDir)
	text, err := os.ReadFile(filepath.Join(dir, certs.MemberCA))
	if _, bad := os.Stat(filepath.Join(dir, certs.MemberCert)); bad != nil || err != nil {
		return true, g.fresh(ctx)
	}
	block, _ := pem.Decode(text)
	if block == nil || sha256.Sum256(block.Bytes) != g.token.CA {
		return false, messages.NewError(messages.Conflict, dir, "this data directory belongs to another cluster already").
			WithHint("leave that first: modelops cluster remove " + o.Host + " on another member of it, and delete the folder here")
	}
	if mark, err := os.ReadFile(filepath.Join(dir, joinedFile)); err == nil && strings.TrimSpace(string(mark)) == hashOf(g.token.Secret[:]) {
		return false, nil
	}
	return true, g.again(ctx, dir)
}

// fresh joins with a data directory that is in no cluster.
func (g *guest) fresh(ctx context.Context) error {
	if left, err := os.ReadDir(certs.ClusterDir(g.o.DataDir)); err == nil && len(left) > 0 {
		return messages.NewError(messages.Conflict, certs.ClusterDir(g.o.DataDir), "the folder holds other files than those of a member").WithHint("move it away")
	}
	work := joiningDir(g.o.DataDir)
	key, err := keyIn(work)
	if err != nil {
		return err
	}
	a, err := g.ask(ctx, key)
	if err != nil {
		if messages.CodeOf(err) != messages.Unavailable { // it may be asked again, with this key
			_ = os.RemoveAll(work)
		}
		return err
	}
	if err := g.keep(work, a); err != nil {
		return err
	}
	return settle(g.o.DataDir)
}

// again joins the cluster from which this host was removed. The files hold at every moment: its key stays.
func (g *guest) again(ctx context.Context, dir string) error {
	key, err := keyIn(dir)
	if err != nil {
		return err
	}
	a, err := g.ask(ctx, key)
	if e := messages.AsError(err); err != nil && e.Subject == "host "+g.o.Host && e.Code == messages.Conflict {
		return messages.NewError(messages.Conflict, dir, "this data directory is that of a member of the cluster already").WithHint("start it without --join")
	}
	if err != nil {
		return err
	}
	return g.keep(dir, a)
}

// ask gets what makes a member, unless a daemon runs on its files. The addresses are tried in turn; one that answers counts.
func (g *guest) ask(ctx context.Context, key crypto.Signer) (a *answer, err error) {
	if g.o.Free != nil {
		if err := g.o.Free(); err != nil {
			return nil, err
		}
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: g.o.Host}, DNSNames: []string{g.o.Host}}, key)
	if err != nil {
		return nil, err
	}
	r := &request{Secret: g.token.Secret[:], Host: g.o.Host, Request: csr, Address: g.o.Advertise, Port: g.o.Port,
		Version: g.o.Version, Protocol: messages.PeerProtocol, Oldest: messages.OldestPeerProtocol}
	var failed error
	for _, address := range g.addresses() {
		a, err := g.askAt(ctx, address, r)
		if err == nil {
			err = g.check(a, key, g.o.Now())
		}
		if err == nil {
			for i := range a.Members {
				if a.Members[i].Host == g.token.Host {
					a.Members[i].Address = address
				}
			}
			return a, nil
		}
		if messages.CodeOf(err) != messages.Unavailable {
			return nil, err
		}
		if failed == nil { // the address that somebody typed
			failed = err
		}
	}
	return nil, failed
}

func (g *guest) addresses() (out []string) {
	for _, a := range append([]string{g.o.Join}, g.token.Addresses...) {
		if _, _, err := net.SplitHostPort(a); a != "" && err != nil {
			a = net.JoinHostPort(strings.Trim(a, "[]"), defaultPort)
		}
		if a != "" && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// askAt asks at one address.
func (g *guest) askAt(ctx context.Context, address string, r *request) (*answer, error) {
	c, err := g.connect(ctx, address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	_ = c.SetDeadline(time.Now().Add(talkTime))
	in, a := bounded(c), new(answer)
	if err = greet(c, in, g.o.Host); err == nil {
		err = say(c, r)
	}
	if err == nil {
		err = hear(in, a)
	}
	if e := new(messages.Error); errors.As(err, &e) {
		return nil, e
	}
	switch {
	case err != nil:
		return nil, g.away(address, err)
	case a.Refused != nil:
		return nil, a.Refused.err()
	}
	return a, nil
}

// connect returns a connection whose other end has proven to be the token's host.
func (g *guest) connect(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, g.away(address, err)
	}
	// This host has no CA yet: VerifyConnection trusts the one that the token names, and no other.
	c := tls.Client(raw, &tls.Config{MinVersion: tls.VersionTLS13, ServerName: g.token.Host, InsecureSkipVerify: true, VerifyConnection: g.verify})
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		if e := new(messages.Error); errors.As(err, &e) {
			return nil, e
		}
		if record := new(tls.RecordHeaderError); errors.As(err, record) {
			return nil, messages.Errorf(messages.Unavailable, "--join", "what listens at %s is no cluster port with certificates", address).WithHint("take the address from modelops cluster invite")
		}
		return nil, g.away(address, err)
	}
	return c, nil
}

// verify compares the CA with the token's, before anything is said.
func (g *guest) verify(s tls.ConnectionState) error {
	roots := x509.NewCertPool()
	found := false
	for _, c := range s.PeerCertificates {
		if sum := sha256.Sum256(c.Raw); bytes.Equal(sum[:], g.token.CA[:]) {
			roots.AddCert(c)
			found = true
		}
	}
	if !found {
		return messages.NewError(messages.PermissionDenied, "--join", "what answers there isn't of the cluster that made the token: its CA is another one").
			WithHint("compare the address with the one that modelops cluster invite prints; the token wasn't sent")
	}
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: g.token.Host, CurrentTime: g.o.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	if err != nil {
		return messages.Errorf(messages.PermissionDenied, "--join", "what answers there isn't host %s, which made the token: %w", g.token.Host, err).
			WithHint("compare the address with the one that modelops cluster invite prints, and the clocks of both hosts; the token wasn't sent")
	}
	return nil
}

func (g *guest) away(address string, err error) error {
	why := err.Error()
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		why = "it doesn't answer"
	}
	return messages.NewError(messages.Unavailable, "host "+g.token.Host, "host "+g.token.Host+" can't be reached at "+address+": "+why).
		WithHint("does modelops serve run there, and do firewalls let its cluster port through?").WithRetry(time.Second).WithCause(err)
}
