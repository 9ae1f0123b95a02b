//go:build e2e

package e2e_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// outsider is a machine of the network that is no member of the cluster.
const outsider = "stranger"

// listens are the TCP ports of a host which another machine can reach.
func (h *labHost) listens() (ports []int) {
	h.t.Helper()
	own := map[string]bool{}
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", h.cmd.Process.Pid))
	if err != nil {
		h.t.Fatal(err)
	}
	for _, file := range files {
		if target, err := os.Readlink(file); err == nil {
			own[target] = true
		}
	}
	for _, file := range []string{"tcp", "tcp6"} {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", h.cmd.Process.Pid, file))
		if err != nil {
			h.t.Fatal(err)
		}
		for line := range strings.Lines(string(raw)) {
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != "0A" || !own["socket:["+f[9]+"]"] {
				continue
			}
			host, port, _ := strings.Cut(f[1], ":")
			ip, _ := hex.DecodeString(host)
			slices.Reverse(ip[:min(4, len(ip))])
			if n, err := strconv.ParseInt(port, 16, 32); err == nil && !net.IP(ip).IsLoopback() {
				ports = append(ports, int(n))
			}
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// foreignCertificate is one that the cluster's CA never saw, for a member's name.
func foreignCertificate(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// tries are what a stranger says to a port: plain, over TLS, and over TLS with a certificate of its own for a member's name.
var tries = []string{
	"MODELOPS/1 nats pc2\n", "MODELOPS/1 grpc pc2\n", "MODELOPS/1 nats stranger\n", "MODELOPS/1 nats \n", "MODELOPS/9 nats pc2\n",
	"GET /status HTTP/1.1\r\nHost: main_pc\r\n\r\n", "CONNECT {\"verbose\":true,\"user\":\"peer pc2\",\"pass\":\"x\"}\r\nSUB > 1\r\nPING\r\n",
	"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", strings.Repeat("x", 5000) + "\n", "\n",
}

// TestStrangersOfTheNetwork: a machine without a certificate of the cluster gets nothing from any port that a member opens to the network.
func TestStrangersOfTheNetwork(t *testing.T) {
	if !laboratory(t) {
		return
	}
	names := []string{"main_pc", "pc2", outsider}
	var l *lab
	if os.Getenv(insideLab) != "" {
		l = newLab(t, names...)
	} else { // the hosts have certificates, so that they open their ports to all networks, and nothing is harmed
		l = newLabOn(t, direct{openProxies()}, names...)
	}
	hosts := l.cluster(func(string) string { return labDevices(sized(t, "m", 4000)) })
	foreign := foreignCertificate(t, "pc2")
	for _, h := range hosts {
		ports := h.listens()
		t.Logf("%s opens %v to the network", h.name(), ports)
		if len(ports) == 0 {
			t.Errorf("%s opens no port: the test shows nothing", h.name())
		}
		for _, port := range ports {
			for _, say := range tries {
				for how, config := range map[string]*tls.Config{
					"plain": nil, "TLS": {InsecureSkipVerify: true}, "TLS with its own certificate": {InsecureSkipVerify: true, Certificates: []tls.Certificate{foreign}, NextProtos: []string{"h2"}},
				} {
					got := l.strangerHears(fmt.Sprintf("%s:%d", l.address(h.name()), port), config, say)
					if first, _, _ := strings.Cut(got, "\n"); strings.HasPrefix(got, "OK") || strings.Contains(got, "INFO {") || strings.Contains(got, " 200 ") || strings.Contains(got, "MSG ") {
						t.Errorf("%s port %d, %s, %.30q: %q", h.name(), port, how, say, first)
					}
				}
			}
		}
	}
	l.agree(hosts...)
	for _, h := range hosts {
		h.says("m", "m")
		if v := h.sees(outsider); v.Host != "" {
			t.Errorf("%s takes the stranger for a member: %v", h.name(), v)
		}
	}
	l.settle("after the stranger", hosts...)
}

// strangerHears says something to a port and reads what comes back until it is closed, for a moment at most.
func (l *lab) strangerHears(address string, config *tls.Config, say string) string {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), waitLimit)
	defer cancel()
	c, err := l.dial(ctx, outsider, address)
	if err != nil {
		l.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(700 * time.Millisecond)) // meant to pass: a port that waits says nothing more
	if config != nil {
		secure := tls.Client(c, config)
		if secure.HandshakeContext(ctx) != nil {
			return ""
		}
		c = secure
	}
	_, _ = c.Write([]byte(say))
	var got strings.Builder
	_, _ = bufio.NewReader(c).WriteTo(&got)
	return got.String()
}
