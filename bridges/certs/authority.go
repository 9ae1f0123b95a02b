package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"modelops/messages"
)

const (
	caCert, caKey = "ca.crt", "ca.key"

	caLife = 10 * 365 * 24 * time.Hour
	// HostLife is how long the daemon's own certificate lasts. It is renewed when a third of that is left.
	HostLife = 90 * 24 * time.Hour
	// early lets machines believe a new certificate whose clocks are a day behind.
	early = 48 * time.Hour
)

// Authority is the CA of a data directory. Its key never leaves the folder.
type Authority struct {
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
}

// Dir is the folder of the certificates in a data directory.
func Dir(dataDir string) string { return filepath.Join(dataDir, "certs") }

// Init makes the CA of a folder. One that is there is kept: certificates that clients trust would be worth nothing without it.
func Init(dir, host string, now time.Time) (a *Authority, made bool, err error) {
	a, err = Open(dir)
	if err == nil || messages.CodeOf(err) != messages.NotFound {
		return a, false, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, false, unwritable(dir, err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, false, err
	}
	want := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "modelops CA of " + host, Organization: []string{"modelops"}},
		NotBefore:             now.Add(-early),
		NotAfter:              now.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	a = &Authority{dir: dir, cert: want, key: key}
	chain, err := a.sign(want, key.Public())
	if err != nil {
		return nil, false, err
	}
	if a.cert, err = x509.ParseCertificate(chain[0]); err != nil {
		return nil, false, err
	}
	return a, true, writePair(filepath.Join(dir, caCert), filepath.Join(dir, caKey), chain[:1], key)
}

// Open reads the CA of a folder. The error is NotFound when there is none.
func Open(dir string) (*Authority, error) {
	certPath, keyPath := filepath.Join(dir, caCert), filepath.Join(dir, caKey)
	if _, err := os.Stat(certPath); errors.Is(err, fs.ErrNotExist) {
		return nil, messages.NewError(messages.NotFound, dir, "there is no CA").WithHint("make one with `modelops certs init`")
	}
	pair, err := load(certPath, keyPath)
	if err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA {
		return nil, messages.NewError(messages.FailedPrecondition, certPath, "it is no CA").WithHint("put " + caCert + " and " + caKey + " of a CA there, or move them away and run `modelops certs init`")
	}
	return &Authority{dir: dir, cert: pair.Leaf, key: key}, nil
}

// Request is what a certificate is for.
type Request struct {
	Name   string   // of the subject, and of the files
	SANs   []string // DNS names and addresses, of a host
	Client bool     // for a client that shows it, not for a host
	Life   time.Duration
	own    bool // for this host's daemon, under the names that are its own
}

var fileName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$`)

// Issue makes a certificate and its key, as NAME.crt and NAME.key in the folder. The file of the certificate also holds the CA's.
func (a *Authority) Issue(r Request, now time.Time) (certPath, keyPath string, err error) {
	taken := r.Name == "ca" || !r.own && (r.Name == hostFile || r.Name == localFile)
	if !fileName.MatchString(r.Name) || taken || strings.HasSuffix(r.Name, ".") {
		return "", "", messages.Errorf(messages.InvalidArgument, "name", "%.100q can't be one", r.Name).WithHint("letters, digits, dots, - and _; ca, host and operator are this host's own")
	}
	if !now.Add(early).Before(a.cert.NotAfter) {
		return "", "", messages.Errorf(messages.FailedPrecondition, filepath.Join(a.dir, caCert), "the CA has expired, on %s", a.cert.NotAfter.Format(time.DateOnly)).
			WithHint("move the folder away, run `modelops certs init`, and give the new CA to the clients")
	}
	want := &x509.Certificate{
		Subject:               pkix.Name{CommonName: r.Name, Organization: []string{"modelops"}},
		NotBefore:             now.Add(-early),
		NotAfter:              now.Add(r.Life),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if want.NotAfter.After(a.cert.NotAfter) {
		want.NotAfter = a.cert.NotAfter
	}
	if r.Client {
		want.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	if err := name(want, r.SANs); err != nil {
		return "", "", err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	chain, err := a.sign(want, key.Public())
	if err != nil {
		return "", "", err
	}
	certPath, keyPath = filepath.Join(a.dir, r.Name+".crt"), filepath.Join(a.dir, r.Name+".key")
	return certPath, keyPath, writePair(certPath, keyPath, chain, key)
}

// name puts the names and addresses of a host into a certificate.
func name(c *x509.Certificate, sans []string) error {
	for _, san := range sans {
		if ip := net.ParseIP(strings.Trim(san, "[]")); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
			continue
		}
		if u, err := url.Parse("//" + san); err != nil || san == "" || u.Host != san || u.Port() != "" || strings.Contains(strings.TrimPrefix(san, "*."), "*") {
			return messages.Errorf(messages.InvalidArgument, "san", "%.100q is no name and no address", san).WithHint("a DNS name or an address, without scheme and port")
		}
		c.DNSNames = append(c.DNSNames, strings.ToLower(san))
	}
	return nil
}

// sign returns the certificate, with the CA's behind it.
func (a *Authority) sign(want *x509.Certificate, public crypto.PublicKey) (chain [][]byte, err error) {
	if want.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, want, a.cert, public, a.key)
	if err != nil {
		return nil, messages.Errorf(messages.Internal, a.dir, "the certificate can't be made: %w", err)
	}
	return [][]byte{der, a.cert.Raw}, nil
}

// CAFile is the certificate of a folder's CA, for clients.
func CAFile(dir string) string { return filepath.Join(dir, caCert) }

// writePair writes a key that only its owner reads, and then the chain. Each file is renamed into place; the key comes first, so that a reader
// which finds the pair torn finds the older chain and keeps what it has.
func writePair(certPath, keyPath string, chain [][]byte, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := replace(keyPath, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return err
	}
	var out []byte
	for _, c := range chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})...)
	}
	return replace(certPath, out, 0o644)
}

func replace(path string, content []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // 0600
	if err != nil {
		return unwritable(path, err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone when it was renamed
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return unwritable(path, err)
	}
	return nil
}

func unwritable(path string, err error) error {
	return messages.Errorf(messages.FailedPrecondition, path, "it can't be written: %w", err).WithHint("the folder belongs into data_dir, which this user must be able to write")
}
