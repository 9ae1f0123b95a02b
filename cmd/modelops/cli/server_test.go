package cli

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"modelops/messages"
)

// A person names the daemon by the HTTP address that browsers use. Its page says where it speaks NATS, if its certificate is believed.
func TestTheHTTPAddressLeadsToNATS(t *testing.T) {
	port := "4222"
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/":
			t.Error(r.URL.Path)
		case port == "elsewhere":
			http.Redirect(w, r, "https://elsewhere.example/", http.StatusFound)
		default:
			w.Header().Set(messages.NATSPortHeader, port)
		}
	})
	plain, secured := httptest.NewServer(page), httptest.NewTLSServer(page)
	defer plain.Close()
	defer secured.Close()
	state := t.TempDir()
	ca := filepath.Join(state, "certs", "ca.crt")
	if err := os.Mkdir(filepath.Dir(ca), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secured.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	ask := func(c *cli, address string) (string, error) { return c.natsAt(t.Context(), address) }
	for what, c := range map[string]struct {
		c             *cli
		address, want string
	}{
		"plain":               {&cli{dataDir: t.TempDir()}, plain.URL, "nats://127.0.0.1:4222"},
		"a slash":             {&cli{dataDir: t.TempDir()}, plain.URL + "/", "nats://127.0.0.1:4222"},
		"a key in it":         {&cli{dataDir: t.TempDir()}, strings.Replace(plain.URL, "//", "//u:key@", 1), "nats://u:key@127.0.0.1:4222"},
		"TLS, the CA is said": {&cli{dataDir: t.TempDir(), ca: ca}, secured.URL, "tls://127.0.0.1:4222"},
		"TLS, the own CA":     {&cli{dataDir: state}, secured.URL, "tls://127.0.0.1:4222"},
		"no HTTP":             {&cli{dataDir: state}, "tls://x:1", "tls://x:1"},
	} {
		if got, err := ask(c.c, c.address); err != nil || got != c.want {
			t.Errorf("%s: %s %v", what, got, err)
		}
	}
	if got, err := ask(&cli{dataDir: t.TempDir()}, secured.URL); err == nil || !strings.Contains(messages.AsError(err).Hint, "--ca") {
		t.Error("a certificate of nobody:", got, err)
	}
	for _, port = range []string{"", "0", "x", "99999", "elsewhere"} {
		if got, err := ask(&cli{dataDir: t.TempDir()}, plain.URL); err == nil || messages.AsError(err).Hint == "" {
			t.Errorf("port %q: %s %v", port, got, err)
		}
	}
}
