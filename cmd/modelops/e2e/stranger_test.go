//go:build e2e

package e2e_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

const twoCallers = oneTiny + `
keys:
  - {name: alice, key: alice-secret-key, role: infer}
`

// TestNATSNeedsAKey is the listener as another user of this machine finds it.
func TestNATSNeedsAKey(t *testing.T) {
	d := start(t, twoCallers)
	d.awaitPhase("tiny", "ready")
	dial := func(opts ...nats.Option) (*nats.Conn, error) {
		return nats.Connect(d.at.NATS, append(opts, nats.NoReconnect(), nats.Timeout(waitLimit))...)
	}
	for name, opts := range map[string][]nats.Option{
		"nothing": nil, "a wrong token": {nats.Token("alice-secret-kez")}, "a name alone": {nats.UserInfo("operator", "")}, "an empty key": {nats.Token("")},
	} {
		nc, err := dial(opts...)
		if err == nil {
			nc.Close()
		}
		if !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: %v", name, err)
		}
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(d.at.NATS, "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(waitLimit))
	_, _ = conn.Write([]byte("CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB _INBOX.q 1\r\nPUB modelops.v1.version _INBOX.q 0\r\n\r\nPING\r\n"))
	var got strings.Builder
	for buf := make([]byte, 4096); ; {
		n, err := conn.Read(buf)
		got.Write(buf[:n])
		if err != nil {
			break
		}
	}
	if !strings.Contains(got.String(), "Authorization Violation") || strings.Contains(got.String(), "MSG ") {
		t.Errorf("a bare connection: %q", got.String())
	}

	alice, err := dial(nats.Token("alice-secret-key"))
	if err != nil {
		t.Fatal(err)
	}
	defer alice.Close()
	if b, err := ask(alice, "infer.tiny", object{"prompt": france, "temperature": 0}); err != nil || !strings.Contains(string(b), paris) {
		t.Errorf("alice can't infer: %s %v", b, err)
	}
}

// TestTheCLINeedsTheCredential: what each command says to a user who may not read the operator's credential.
func TestTheCLINeedsTheCredential(t *testing.T) {
	d := start(t, twoCallers)
	d.awaitPhase("tiny", "ready")
	stranger := t.TempDir() // a data directory without a credential, with the daemon's addresses
	b, err := os.ReadFile(filepath.Join(d.state(), "daemon.json"))
	if err == nil {
		err = os.WriteFile(filepath.Join(stranger, "daemon.json"), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := func(env []string, args ...string) output {
		return execute(t, append(os.Environ(), env...), d.binary, append(args, "--data-dir", stranger, "--json")...)
	}
	for _, args := range [][]string{{"ps"}, {"status"}, {"load", "tiny"}, {"unload", "tiny"}, {"infer", "tiny", "x"}, {"why", "tiny"}, {"queue"}, {"gpus"}, {"pin", "tiny"},
		{"config", "apply"}, {"journal", "tail"}, {"send", "model/main_pc/tiny", "EnsureModel"}} {
		if got := elsewhere([]string{"MODELOPS_API_KEY="}, args...); got.code == 0 || !strings.Contains(got.err, `"UNAUTHENTICATED"`) || !strings.Contains(got.err, "--data-dir") {
			t.Errorf("%v without a key: %s", args, got)
		}
	}
	if got := elsewhere([]string{"MODELOPS_API_KEY=not-a-key-at-all"}, "ps"); got.code == 0 || !strings.Contains(got.err, `"UNAUTHENTICATED"`) {
		t.Errorf("with a wrong key: %s", got)
	}
	alice := []string{"MODELOPS_API_KEY=alice-secret-key"}
	if got := elsewhere(alice, "infer", "tiny", france, "--temperature", "0"); got.code != 0 || !strings.Contains(got.out, paris) {
		t.Errorf("alice can't infer: %s", got)
	}
	if got := elsewhere(alice, "unload", "tiny"); got.code == 0 || !strings.Contains(got.err, `"PERMISSION_DENIED"`) {
		t.Errorf("alice unloads: %s", got)
	}
	// The daemon's own user needs nothing, not even a configuration that can be read.
	d.write("cluster.yaml", "host: [")
	if got := execute(t, os.Environ(), d.binary, "ps", "--data-dir", d.state()); got.code != 0 || !strings.Contains(got.out, "tiny") {
		t.Errorf("the operator with a broken configuration: %s", got)
	}
	if err := os.Chmod(filepath.Join(d.state(), "operator.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := execute(t, os.Environ(), d.binary, "ps", "--data-dir", d.state(), "--json"); got.code == 0 || !strings.Contains(got.err, "0644") {
		t.Errorf("a credential that all can read: %s", got)
	}
}
