package system_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// certificates of a cluster's hosts, and of a stranger whose authority is another one.
type certificates struct{ dir string }

func newCertificates(t *testing.T, hosts ...string) certificates {
	c := certificates{t.TempDir()}
	c.authority(t, "ca", hosts...)
	c.authority(t, "other", "stranger")
	return c
}

func (c certificates) authority(t *testing.T, name string, hosts ...string) {
	key, ca := c.sign(t, name, nil, nil)
	for _, host := range hosts {
		c.sign(t, host, ca, key)
	}
}

// sign writes NAME.pem with the certificate and the key.
func (c certificates) sign(t *testing.T, name string, by *x509.Certificate, with *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: by == nil, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	if by == nil {
		by, with = cert, key
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, by, &key.PublicKey, with)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	out := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	if err := os.WriteFile(filepath.Join(c.dir, name+".pem"), out, 0o600); err != nil {
		t.Fatal(err)
	}
	cert, err = x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}

// server and client are the TLS of a host.
func (c certificates) server(host string) *tls.Config {
	own, pool := c.load(host)
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{own}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
}

func (c certificates) client(host, to string) *tls.Config {
	own, pool := c.load(host)
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{own}, RootCAs: pool, ServerName: to}
}

func (c certificates) load(host string) (tls.Certificate, *x509.CertPool) {
	file := filepath.Join(c.dir, host+".pem")
	own, err := tls.LoadX509KeyPair(file, file)
	if err != nil {
		panic(err)
	}
	ca, err := os.ReadFile(filepath.Join(c.dir, "ca.pem"))
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return own, pool
}
