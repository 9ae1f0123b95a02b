package journal

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// selfSigned is a certificate for 127.0.0.1, and the pool that believes it.
func selfSigned(t *testing.T, serial int64) (*tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	want := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, want, want, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// The listener speaks TLS with the certificate of the moment, and only TLS. Connections of this process don't.
func TestTheListenerSpeaksTLS(t *testing.T) {
	first, firstPool := selfSigned(t, 1)
	second, secondPool := selfSigned(t, 2)
	var now atomic.Pointer[tls.Certificate]
	now.Store(first)
	o := testOptions(t, t.TempDir())
	o.Port = 0
	o.TLS = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return now.Load(), nil }}
	j := mustOpen(t, o)
	fill(t, j, 3) // over the journal's own connection
	if nc, err := j.Connect(); err != nil {
		t.Fatal(err)
	} else {
		nc.Close()
	}
	address := j.ClientURL()
	if !strings.HasPrefix(address, "tls://") {
		t.Fatal(address)
	}
	// Whether the key opens is another question: what matters here is whether the handshake got so far.
	reached := func(address string, pool *x509.CertPool) bool {
		nc, err := nats.Connect(address, nats.Secure(&tls.Config{RootCAs: pool}), nats.Timeout(hangLimit), nats.NoReconnect())
		if err == nil {
			nc.Close()
		}
		return err == nil || strings.Contains(err.Error(), "uthorization")
	}
	if !reached(address, firstPool) || reached(address, secondPool) {
		t.Error("the first certificate doesn't rule")
	}
	now.Store(second)
	if reached(address, firstPool) || !reached(address, secondPool) {
		t.Error("the second certificate doesn't rule")
	}
	c, err := net.Dial("tcp", strings.TrimPrefix(address, "tls://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = c.Write([]byte("CONNECT {}\r\nSUB > 1\r\nPING\r\n"))
	buf := make([]byte, 64<<10)
	var got strings.Builder
	for {
		n, err := c.Read(buf)
		got.Write(buf[:n])
		if err != nil {
			break
		}
	}
	if strings.Contains(got.String(), "PONG") {
		t.Errorf("a client without TLS is served: %q", got.String())
	}
}
