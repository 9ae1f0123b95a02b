//go:build e2e

package e2e_test

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// shown is the SHA-256 of the certificate that a door shows; empty when there was no handshake.
func shown(address string) string {
	c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		return ""
	}
	defer func() { _ = c.Close() }()
	sum := sha256.Sum256(c.ConnectionState().PeerCertificates[0].Raw)
	return hex.EncodeToString(sum[:])
}

// TestCertificatesChangeWithoutARestart: all doors show a new certificate soon after its files were replaced, and the old one when the new files are broken.
func TestCertificatesChangeWithoutARestart(t *testing.T) {
	d := prepare(t, strings.Replace(base, "server: {", "server: {tls: {cert: one.crt, key: one.key}, ", 1)+oneTiny)
	issue := func(name string) (sum string) {
		for _, args := range [][]string{{"certs", "init"}, {"certs", "issue", name, "--san", "localhost", "--san", "127.0.0.1"}} {
			if got := d.cli(args...); got.code != 0 {
				t.Fatalf("%v: %s", args, got)
			}
		}
		return name
	}
	put := func(name string) {
		for _, end := range []string{".key", ".crt"} {
			text, err := os.ReadFile(filepath.Join(d.state(), "certs", name+end))
			if err != nil {
				t.Fatal(err)
			}
			d.write("one"+end, string(text))
		}
	}
	put(issue("first"))
	d.launch()
	nc, err := nats.Connect(d.at.NATS, nats.Secure(&tls.Config{InsecureSkipVerify: true}), nats.NoReconnect())
	if err == nil {
		nc.Close()
	} else if !strings.Contains(err.Error(), "uthorization") {
		t.Error("NATS:", err)
	}
	door := strings.TrimPrefix(d.at.HTTP, "https://")
	before := shown(door)
	if before == "" || shown(d.at.GRPC) != before {
		t.Fatalf("HTTP shows %q, gRPC %q", before, shown(d.at.GRPC))
	}
	if c, err := net.Dial("tcp", door); err == nil {
		_, _ = c.Write([]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
		buf := make([]byte, 1<<10)
		if n, _ := c.Read(buf); strings.Contains(string(buf[:n]), "200") {
			t.Errorf("plain HTTP is served: %s", buf[:n])
		}
		_ = c.Close()
	}
	issue("second")
	put("second")
	d.until(waitLimit, "the doors show the second certificate", func() bool {
		now := shown(door)
		return now != "" && now != before && shown(d.at.GRPC) == now
	})
	second := shown(door)
	if got := d.cli("ps"); got.code != 0 {
		t.Errorf("the command line doesn't believe the new certificate: %s", got)
	}
	d.write("one.crt", "no certificate")
	d.until(waitLimit, "the broken file is said", func() bool { return strings.Contains(d.log.String(), "the old one stays in force") })
	if got := shown(door); got != second {
		t.Errorf("a broken file changes the certificate to %q", got)
	}
	if got := d.cli("certs", "show"); got.code != 0 || !strings.Contains(got.out, "BEGIN CERTIFICATE") || !strings.Contains(got.out, second) {
		t.Errorf("%s", got)
	}
}

// TestWhatBindRefuses: an address that other machines reach isn't served by mistake, and each refusal says what to do.
func TestWhatBindRefuses(t *testing.T) {
	for _, c := range []struct{ server, more, want string }{
		{"bind: 0.0.0.0", "", "insecure: true"},
		{"bind: '::'", "keys: [{name: a, key: alice-key-1}]", "auto: true"},
		{"bind: 0.0.0.0, tls: {auto: true}", "", "modelops keys add"},
		{"bind: 0.0.0.0, insecure: true", "", "modelops keys add"},
		{"bind: no-such-name.invalid, tls: {auto: true}", "keys: [{name: a, key: alice-key-1}]", "no address"},
		{"bind: 203.0.113.77, tls: {auto: true}", "keys: [{name: a, key: alice-key-1}]", "no interface"},
		{"tls: {cert: nowhere.crt, key: nowhere.key}", "", "nowhere.crt"},
	} {
		d := prepare(t, strings.Replace(base, "server: {", "server: {"+c.server+", ", 1)+c.more+"\n"+oneTiny)
		d.spawn()
		<-d.exited
		if said := d.log.String(); d.cmd.ProcessState.Success() || !strings.Contains(said, strings.Replace(c.want, "insecure: true", "server.insecure", 1)) && !strings.Contains(said, c.want) {
			t.Errorf("%s: %s", c.server, said)
		}
	}
}

// TestTheFirstKey: the command that the refusal names makes the key without a daemon, and then the host starts and knows it.
func TestTheFirstKey(t *testing.T) {
	d := prepare(t, strings.Replace(base, "server: {", "server: {bind: 0.0.0.0, tls: {auto: true}, ", 1)+oneTiny)
	made := d.cli("keys", "add", "alice", "--role", "read")
	key := strings.TrimSpace(made.out)
	if made.code != 0 || key == "" {
		t.Fatal(made)
	}
	d.launch()
	if got := d.cli("keys", "ls"); got.code != 0 || !strings.Contains(got.out, "alice") {
		t.Errorf("%s", got)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	for key, want := range map[string]int{key: 200, "wrong-key-1": 401} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", d.at.HTTP+"/v1/models", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+key)
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d", key, resp.StatusCode)
		}
	}
}
