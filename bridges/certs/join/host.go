package join

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"modelops/bridges/certs"
	"modelops/messages"
)

// Lasts is how long a token is good for when nobody says otherwise, and Longest is the most.
const (
	Lasts   = 15 * time.Minute
	Longest = 7 * 24 * time.Hour
)

// HostOptions are of a member that invites others.
type HostOptions struct {
	Dir, Host string
	Version   string // of modelops
	Members   *certs.Membership
	Admitted  func(host, address string) // is told of a new member, before that hears so
	Log       *slog.Logger
	Now       func() time.Time // nil = time.Now
}

// Host invites hosts, and admits them.
type Host struct {
	o    HostOptions
	mu   sync.Mutex
	ca   *certs.Authority
	book *book
}

// Open reads CA and invitations of a member. The error is NotFound when the folder has no CA: the certificates are one's own.
func Open(o HostOptions) (*Host, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	ca, err := certs.Open(o.Dir)
	if err != nil {
		return nil, err
	}
	b, err := openBook(o.Dir)
	return &Host{o: o, ca: ca, book: b}, err
}

// Invite makes a token. host is the only one that may use it; empty = any that is no member.
func (h *Host) Invite(host string, lasts time.Duration, addresses ...string) (t Token, expires time.Time, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.o.Now()
	if lasts == 0 {
		lasts = Lasts
	}
	switch {
	case lasts < 0 || lasts > Longest:
		return t, expires, messages.Errorf(messages.InvalidArgument, "within_seconds", "a token can't last %s", lasts).WithHint("a week at most; 15m is usual")
	case host != "":
		if err := h.free(host); err != nil {
			return t, expires, err
		}
	}
	if t, err = newToken(h.o.Host, h.ca.Certificate().Raw, addresses); err != nil {
		return t, expires, err
	}
	expires = now.Add(lasts)
	return t, expires, h.book.add(invitation{Secret: hashOf(t.Secret[:]), Host: host, Expires: expires}, now)
}

// free tells whether a host of a name could become a member.
func (h *Host) free(host string) error {
	switch {
	case !messages.PlainName.MatchString(host):
		return messages.Errorf(messages.InvalidArgument, "host", "%.100q can't be the name of a host", host).WithHint(messages.GoodPlainName)
	case host == h.o.Host || h.o.Members.IsMember(host):
		return messages.Errorf(messages.Conflict, "host "+host, "a host named %s is a member of this cluster already", host).
			WithHint("give the new one another name: host in its cluster.yaml. If it is the same one, started on a new disk: modelops cluster remove " + host + " first")
	}
	return nil
}

// Serve admits the guest of a connection, or says why not. The connection is closed then.
func (h *Host) Serve(c net.Conn, name string) {
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(talkTime))
	r := new(request)
	if err := hear(bounded(c), r); err != nil {
		return
	}
	a, err := h.admit(r, name, c.RemoteAddr())
	if err != nil {
		e := messages.AsError(err)
		h.o.Log.Warn("a host that wanted to join was refused", "host", name, "from", c.RemoteAddr().String(), "error", e)
		a = &answer{Refused: &refusal{e.Code, e.Subject, e.Message, e.Hint}}
	}
	_ = say(c, a)
}

// admit spends the token, makes the certificate and the member, in this order. When one of the two hosts dies in between, the same guest may ask again.
func (h *Host) admit(r *request, name string, from net.Addr) (*answer, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key, public, err := keyOf(r)
	if err != nil {
		return nil, err
	}
	own := &messages.PeerHello{Host: h.o.Host, Version: h.o.Version, Protocol: messages.PeerProtocol, OldestProtocol: messages.OldestPeerProtocol}
	if err := messages.PeersFit(own, &messages.PeerHello{Host: name, Version: r.Version, Protocol: r.Protocol, OldestProtocol: r.Oldest}); err != nil {
		return nil, err
	}
	at, again, err := h.book.find(r, key, h.o.Now())
	if err != nil {
		return nil, err
	}
	switch {
	case r.Host != name:
		return nil, messages.NewError(messages.InvalidArgument, "host "+name, "it says two names").WithHint("use the same modelops on both hosts")
	case again && slices.Contains(h.o.Members.Removed(), name):
		return nil, refused(name + " was removed from the cluster since")
	case !again:
		if err := h.free(name); err != nil {
			return nil, err
		}
		if err := h.book.spend(at, name, key); err != nil {
			return nil, err
		}
	}
	a, err := h.welcome(r.Host, public)
	if err != nil {
		return nil, err
	}
	address := r.reachedAt(from)
	if err := h.o.Members.Admit(name, address); err != nil {
		return nil, err
	}
	a.Members = h.o.Members.All()
	h.o.Log.Info("a host has joined the cluster", "host", name, "address", address, "again", again)
	h.o.Admitted(name, address)
	return a, nil
}

// keyOf is the key for which a certificate is asked. Who asks has proven to hold it.
func keyOf(r *request) (sum string, public *ecdsa.PublicKey, err error) {
	csr, err := x509.ParseCertificateRequest(r.Request)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err == nil {
		if key, ok := csr.PublicKey.(*ecdsa.PublicKey); ok {
			public = key
		} else {
			err = errors.New("its key isn't of ECDSA")
		}
	}
	if err != nil {
		return "", nil, messages.Errorf(messages.InvalidArgument, "request", "the request for a certificate can't be used: %w", err).WithHint("use the same modelops on both hosts")
	}
	s := sha256.Sum256(csr.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(s[:]), public, nil
}

// welcome is what makes a member of a guest.
func (h *Host) welcome(guest string, public *ecdsa.PublicKey) (*answer, error) {
	cert, err := h.ca.IssueMember(guest, public, h.o.Now())
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(filepath.Join(h.o.Dir, certs.MemberCA))
	key, bad := os.ReadFile(filepath.Join(h.o.Dir, certs.MemberCAKey))
	if err = errors.Join(err, bad); err != nil {
		return nil, messages.Errorf(messages.FailedPrecondition, h.o.Dir, "the CA can't be read: %w", err)
	}
	return &answer{Certificate: cert, CA: ca, CAKey: key}, nil
}

// reachedAt is where a guest is reached from now on.
func (r *request) reachedAt(from net.Addr) string {
	if host, port, err := net.SplitHostPort(r.Address); err == nil && host != "" && port != "" {
		return r.Address
	}
	host, _, err := net.SplitHostPort(from.String())
	if err != nil || r.Port <= 0 || r.Port > 65535 {
		return "" // it tells its address itself
	}
	return net.JoinHostPort(host, strconv.Itoa(r.Port))
}
