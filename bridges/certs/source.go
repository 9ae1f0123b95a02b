package certs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"modelops/messages"
)

// Settings say where the material comes from: files, or with Auto the own CA.
type Settings struct {
	Auto      bool
	Cert, Key string
	// ClientCA verifies the clients' certificates; empty asks for none.
	ClientCA string
	// Optional lets clients without a certificate in; a wrong one is refused all the same.
	Optional bool
}

// Options of a Source.
type Options struct {
	Dir  string // of the own CA
	Host string // whose certificate it is
	// Names are those and the addresses by which clients reach this host now. Asked before each look; only Auto uses it.
	Names func() []string
	// Changed is told after new material is in force; may be nil.
	Changed func()
	Log     *slog.Logger
	Now     func() time.Time // nil = time.Now
}

// hostFile and localFile are the certificates that Auto keeps: of this host, and of the command line on this machine where clients need one.
const hostFile, localFile = "host", "operator"

// Source holds the newest material that could be used.
type Source struct {
	o        Options
	mu       sync.Mutex // one look at a time
	settings Settings
	seen     [3]stamp // of the files that were read last, good or bad
	now      atomic.Pointer[material]
}

// material is what one handshake uses.
type material struct {
	cert    *tls.Certificate
	clients *x509.CertPool
	auth    tls.ClientAuthType
}

// stamp tells one version of a file from another.
type stamp struct {
	size    int64
	changed time.Time
	missing bool
}

func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{missing: true}
	}
	return stamp{size: info.Size(), changed: info.ModTime()}
}

// OpenSource reads the material. Without any the doors can't open, so that the error says what is wrong with it.
func OpenSource(o Options, s Settings) (*Source, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	src := &Source{o: o, settings: s}
	if err := src.read(s); err != nil {
		return nil, err
	}
	return src, nil
}

// Use reads the material of other settings. When that can't be used, the old settings and their material stay.
func (s *Source) Use(next Settings) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.read(next); err != nil {
		return err
	}
	s.settings = next
	return nil
}

// lookEvery is how often the files are looked at. A look costs three questions to the file system.
const lookEvery = 2 * time.Second

// Run follows the files, and renews what the own CA issued, until ctx ends.
func (s *Source) Run(ctx context.Context) {
	for tick := time.NewTicker(lookEvery); ; {
		select {
		case <-tick.C:
			s.Look()
		case <-ctx.Done():
			tick.Stop()
			return
		}
	}
}

// Look reads the files again if they have changed. Files that can't be used are said once for each change, and the old material stays in force.
func (s *Source) Look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	files, err := s.files(s.settings)
	if err != nil {
		s.o.Log.Error("this host's certificate can't be renewed: the old one stays in force", "error", err)
		return
	}
	if s.stamps(files) == s.seen {
		return
	}
	if err := s.read(s.settings); err != nil {
		s.o.Log.Error("the new certificate can't be used: the old one stays in force", "error", err, "sha256", s.Fingerprint(), "until", s.Leaf().NotAfter.Format(time.RFC3339))
	}
}

// files are where the material stands: certificate, key and CA of the clients. With Auto they are made when they are missing or due.
func (s *Source) files(set Settings) (out [3]string, err error) {
	out = [3]string{set.Cert, set.Key, set.ClientCA}
	if set.ClientCA == "auto" {
		out[2] = CAFile(s.o.Dir)
	}
	if set.Auto {
		if out[0], out[1], err = s.keepHost(); err != nil {
			return out, err
		}
	}
	if out[2] != "" {
		err = s.keepOperator()
	}
	return out, err
}

// keepHost makes the own certificate when there is none, when a third of its life is left, or when a name of this host isn't in it.
func (s *Source) keepHost() (certPath, keyPath string, err error) {
	certPath, keyPath = filepath.Join(s.o.Dir, hostFile+".crt"), filepath.Join(s.o.Dir, hostFile+".key")
	names := s.o.Names()
	if had, err := load(certPath, keyPath); err == nil && s.fits(had, names, HostLife) {
		return certPath, keyPath, nil
	}
	a, made, err := Init(s.o.Dir, s.o.Host, s.o.Now())
	if err != nil {
		return "", "", err
	}
	if made {
		s.o.Log.Info("this host's CA is made: give it to clients", "file", CAFile(s.o.Dir))
	}
	certPath, keyPath, err = a.Issue(Request{Name: hostFile, SANs: names, Life: HostLife, own: true}, s.o.Now())
	if err == nil {
		s.o.Log.Info("this host's certificate is issued", "file", certPath, "names", strings.Join(names, " "))
	}
	return certPath, keyPath, err
}

// keepOperator keeps a certificate for the command line on this machine, where clients need one. Its key is as secret as the operator's credential.
func (s *Source) keepOperator() error {
	certPath, keyPath := LocalFiles(s.o.Dir)
	if had, err := load(certPath, keyPath); err == nil && s.fits(had, nil, HostLife) {
		return nil
	}
	a, _, err := Init(s.o.Dir, s.o.Host, s.o.Now())
	if err == nil {
		_, _, err = a.Issue(Request{Name: localFile, Client: true, Life: HostLife, own: true}, s.o.Now())
	}
	return err
}

// LocalFiles are the certificate and key that the command line shows on this machine.
func LocalFiles(dir string) (certPath, keyPath string) {
	return filepath.Join(dir, localFile+".crt"), filepath.Join(dir, localFile+".key")
}

// fits tells whether a certificate is of the present CA, lasts for some time and has all names.
func (s *Source) fits(had tls.Certificate, names []string, life time.Duration) bool {
	ca, err := Open(s.o.Dir)
	if err != nil || had.Leaf.CheckSignatureFrom(ca.cert) != nil {
		return false
	}
	now := s.o.Now()
	left := had.Leaf.NotAfter.Sub(now)
	due := left < life/3 && had.Leaf.NotAfter.Before(ca.cert.NotAfter) || left <= 0
	if due || now.Before(had.Leaf.NotBefore) {
		return false
	}
	return !slices.ContainsFunc(names, func(name string) bool { return had.Leaf.VerifyHostname(strings.Trim(name, "[]")) != nil })
}

// read puts the material of settings in force.
func (s *Source) read(set Settings) error {
	files, err := s.files(set)
	if err != nil {
		return err
	}
	s.seen = s.stamps(files) // before they are read: a change in between is seen at the next look
	pair, err := load(files[0], files[1])
	if err != nil {
		return err
	}
	old := s.now.Load()
	if now := s.o.Now(); now.After(pair.Leaf.NotAfter) {
		expired := messages.Errorf(messages.FailedPrecondition, files[0], "the certificate has expired, on %s", pair.Leaf.NotAfter.Format(time.RFC3339)).WithHint("replace it; it is read again at once")
		if old != nil && now.Before(old.cert.Leaf.NotAfter) {
			return expired
		}
		s.o.Log.Error("clients will refuse this host", "error", expired)
	}
	next := &material{cert: &pair}
	if files[2] != "" {
		if next.clients, err = s.pool(files[2]); err != nil {
			return err
		}
		if next.auth = tls.RequireAndVerifyClientCert; set.Optional {
			next.auth = tls.VerifyClientCertIfGiven
		}
	}
	if info, err := os.Stat(files[1]); err == nil && info.Mode().Perm()&0o077 != 0 {
		s.o.Log.Warn("other users of this machine may read the private key: chmod 600", "file", files[1])
	}
	s.now.Store(next)
	s.o.Log.Info("TLS", "certificate", files[0], "sha256", s.Fingerprint(), "until", pair.Leaf.NotAfter.Format(time.RFC3339))
	if old != nil && s.o.Changed != nil {
		s.o.Changed()
	}
	return nil
}

// pool is who may have signed clients' certificates: the CA of the settings, and the own one, whose only client is the command line here.
func (s *Source) pool(path string) (*x509.CertPool, error) {
	text, err := read(path)
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(text) {
		return nil, messages.Errorf(messages.FailedPrecondition, path, "there is no CA to read: %w", cmp.Or(err, errors.New("no certificate is in it"))).WithHint("server.tls.client_ca names a PEM file with the CA of the clients' certificates")
	}
	if a, err := Open(s.o.Dir); err == nil {
		pool.AddCert(a.cert)
	}
	return pool, nil
}

func (s *Source) stamps(files [3]string) (out [3]stamp) {
	for i, path := range files {
		if path != "" {
			out[i] = stampOf(path)
		}
	}
	return out
}

// Config is for a listener of the protocols. Each handshake asks for the newest material.
func (s *Source) Config(protocols ...string) *tls.Config {
	base := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: protocols, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.now.Load().cert, nil }}
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		m := s.now.Load()
		c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: protocols, Certificates: []tls.Certificate{*m.cert}, ClientCAs: m.clients, ClientAuth: m.auth}
		// A resumed session isn't asked for its certificate again, and the CA may be another one by then.
		c.SessionTicketsDisabled = m.auth != tls.NoClientCert
		return c, nil
	}
	return base
}

// Leaf is the certificate in force.
func (s *Source) Leaf() *x509.Certificate { return s.now.Load().cert.Leaf }

// Fingerprint is the SHA-256 of the certificate in force, in hex.
func (s *Source) Fingerprint() string { return FingerprintOf(s.Leaf()) }

// FingerprintOf is the SHA-256 of a certificate, in hex.
func FingerprintOf(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// load reads a certificate and its key. The error names the file and what to do.
func load(certPath, keyPath string) (tls.Certificate, error) {
	pair, err := loadPair(certPath, keyPath)
	if err == nil {
		return pair, nil
	}
	at := certPath
	if lost := (*os.PathError)(nil); errors.As(err, &lost) {
		at = lost.Path
	}
	return pair, messages.Errorf(messages.FailedPrecondition, at, "the certificate %s and the key %s can't be used: %w", certPath, keyPath, err).
		WithHint("server.tls.cert is a PEM chain with this host's certificate first, server.tls.key its private key without a password")
}
