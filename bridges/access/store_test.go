package access

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

func (g *Guard) ask(t *testing.T, key string) (messages.Principal, error) {
	return g.Authenticate(t.Context(), messages.Credentials{Key: key, Peer: remote})
}

func TestAddedKeysLiveUntilTheyAreRevoked(t *testing.T) {
	g, c, cut := guarded(t, Rules{Anonymous: messages.Role_READ, Class: "normal"})
	secret, info, err := g.Add(messages.NewKey{Name: "alice", Role: messages.Role_INFER, Models: []string{"org/*"}, Expires: c.at.Add(time.Hour)})
	if err != nil || info.Name != "alice" || info.Role != "infer" || info.State != "active" || len(secret) < 64 {
		t.Fatal(info, err)
	}
	p, err := g.ask(t, secret)
	if err != nil || p.Name != "alice" || p.Class != "normal" || p.Fingerprint != info.Fingerprint || p.Scope == nil || !p.Until.Equal(c.at.Add(time.Hour)) {
		t.Fatalf("%+v %v", p, err)
	}
	if _, err := g.Authenticate(t.Context(), messages.Credentials{Key: "sk-any", Peer: local}); messages.CodeOf(err) != messages.Unauthenticated {
		t.Error("with a key added, an unknown one is a mistake:", err)
	}
	if _, _, err := g.Add(messages.NewKey{Name: "alice", Role: messages.Role_INFER}); messages.CodeOf(err) != messages.Conflict {
		t.Error(err)
	}
	if _, _, err := g.Add(messages.NewKey{Name: "operator", Role: messages.Role_ADMIN}); messages.CodeOf(err) != messages.Conflict {
		t.Error(err)
	}
	b, err := os.ReadFile(g.o.Store.path)
	at, _ := os.Stat(g.o.Store.path)
	if err != nil || at.Mode().Perm() != 0o600 || strings.Contains(string(b), secret) || strings.Contains(string(b), secret[3:]) {
		t.Fatalf("the file: %v %v\n%s", err, at, b)
	}
	if left, _ := os.ReadDir(filepath.Dir(g.o.Store.path)); len(left) != 1 {
		t.Errorf("files are left: %v", left)
	}
	for _, name := range []string{"alice", info.Fingerprint} { // the second time it is revoked already
		if i, err := g.Revoke(name); err != nil || i.State != "revoked" {
			t.Error(name, i, err)
		}
	}
	if len(*cut) != 1 || (*cut)[0] != info.Fingerprint {
		t.Errorf("connections of %q were cut", *cut)
	}
	if _, err := g.ask(t, secret); messages.CodeOf(err) != messages.Unauthenticated || !strings.Contains(err.Error(), "revoked") || strings.Contains(err.Error(), "alice") {
		t.Error(err)
	}
	if _, err := g.Revoke("nobody"); messages.CodeOf(err) != messages.NotFound {
		t.Error(err)
	}
	again, err := OpenStore(filepath.Dir(g.o.Store.path), c.now, nil)
	if err != nil {
		t.Fatal(err)
	}
	g.o.Store = again
	if _, err := g.ask(t, secret); !strings.Contains(err.Error(), "revoked") {
		t.Error("after a restart:", err)
	}
	if other, _, err := g.Add(messages.NewKey{Name: "alice", Role: messages.Role_READ}); err != nil || other == secret {
		t.Error("a revoked key's name is free:", err)
	}
}

func TestAddedKeysExpire(t *testing.T) {
	g, c, _ := guarded(t, Rules{})
	secret, _, err := g.Add(messages.NewKey{Name: "a", Role: messages.Role_READ, Expires: c.at.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	c.at = c.at.Add(time.Hour)
	if _, err := g.ask(t, secret); messages.CodeOf(err) != messages.Unauthenticated || !strings.Contains(err.Error(), "expired") {
		t.Error(err)
	}
	if i := g.List(); len(i) != 1 || i[0].State != "expired" {
		t.Error(i)
	}
}

// The last use is shown at once and written by Flush: no request writes.
func TestTheLastUseIsWrittenLater(t *testing.T) {
	g, c, _ := guarded(t, Rules{})
	secret, _, err := g.Add(messages.NewKey{Name: "a", Role: messages.Role_READ})
	if err != nil {
		t.Fatal(err)
	}
	before, _ := os.Stat(g.o.Store.path)
	c.at = c.at.Add(time.Hour)
	if _, err := g.ask(t, secret); err != nil {
		t.Fatal(err)
	}
	if i := g.List()[0]; i.LastUsedMs != c.at.UnixMilli() {
		t.Error(i)
	}
	if after, _ := os.Stat(g.o.Store.path); !os.SameFile(before, after) {
		t.Error("a request wrote the file")
	}
	if allocated := testing.AllocsPerRun(100, func() { _, _ = g.ask(t, secret) }); allocated > 1 {
		t.Errorf("%v allocations a request", allocated)
	}
	if err := g.o.Store.Flush(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenStore(filepath.Dir(g.o.Store.path), c.now, nil)
	if err != nil || again.List()[0].LastUsedMs != c.at.UnixMilli() {
		t.Error(again, err)
	}
}

// A file that can't be believed stops the start, and says how to go on. A start without the keys would refuse everyone, or know a revoked key.
func TestADamagedStoreIsRefused(t *testing.T) {
	for what, plant := range map[string]func(path string) error{
		"cut off": func(p string) error { return os.WriteFile(p, []byte(`{"version":1,"keys":[{"na`), 0o600) },
		"empty":   func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"newer":   func(p string) error { return os.WriteFile(p, []byte(`{"version":2}`), 0o600) },
		"no hash": func(p string) error {
			return os.WriteFile(p, []byte(`{"version":1,"keys":[{"name":"a","role":"read"}]}`), 0o600)
		},
		"no role": func(p string) error {
			return os.WriteFile(p, []byte(`{"version":1,"keys":[{"name":"a","role":"root"}]}`), 0o600)
		},
		"null": func(p string) error { return os.WriteFile(p, []byte(`{"version":1,"keys":[null]}`), 0o600) },
		"a link": func(p string) error {
			return errors.Join(os.WriteFile(p+".elsewhere", []byte(`{"version":1}`), 0o600), os.Symlink(p+".elsewhere", p))
		},
		"another user's": func(p string) error {
			if os.Geteuid() != 0 {
				return os.WriteFile(p, nil, 0o600) // only root can make one
			}
			return errors.Join(os.WriteFile(p, []byte(`{"version":1}`), 0o600), os.Chown(p, 12345, 12345))
		},
		"written by all":    func(p string) error { _ = os.WriteFile(p, []byte(`{"version":1}`), 0o600); return os.Chmod(p, 0o666) },
		"a link to no file": func(p string) error { return os.Symlink("/dev/null", p) },
		"a folder":          func(p string) error { return os.Mkdir(p, 0o700) },
	} {
		dir := t.TempDir()
		if err := plant(filepath.Join(dir, StoreFile)); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenStore(dir, time.Now, nil); messages.CodeOf(err) != messages.FailedPrecondition || messages.AsError(err).Hint == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// What can't be written isn't promised; but a key that leaked is refused at once all the same.
func TestKeysWhenTheDiskIsFull(t *testing.T) {
	g, c, cut := guarded(t, Rules{})
	secret, _, err := g.Add(messages.NewKey{Name: "a", Role: messages.Role_READ})
	if err != nil {
		t.Fatal(err)
	}
	good := g.o.Store.path
	g.o.Store.path = filepath.Join(t.TempDir(), "no such folder", StoreFile)
	if _, _, err := g.Add(messages.NewKey{Name: "b", Role: messages.Role_READ}); messages.CodeOf(err) != messages.Unavailable || len(g.List()) != 1 {
		t.Error(err, g.List())
	}
	if _, err := g.Revoke("a"); messages.CodeOf(err) != messages.Unavailable || len(*cut) != 1 {
		t.Error(err, *cut)
	}
	if _, err := g.ask(t, secret); messages.CodeOf(err) != messages.Unauthenticated {
		t.Error("the leaked key is still accepted:", err)
	}
	g.o.Store.path = good
	if err := g.o.Store.Flush(); err != nil {
		t.Fatal(err)
	}
	if again, err := OpenStore(filepath.Dir(good), c.now, nil); err != nil || again.List()[0].State != "revoked" {
		t.Error("the revocation wasn't written later:", err)
	}
}

// A key of the configuration is shown, and ends there.
func TestConfiguredKeysAreListed(t *testing.T) {
	g, _, _ := guarded(t, Rules{Keys: configured("alice-key", messages.Principal{Name: "alice", Fingerprint: "f00", Role: messages.Role_OPERATE})})
	if i := g.List(); len(i) != 1 || i[0].Name != "alice" || i[0].Source != "configuration" {
		t.Error(i)
	}
	if _, err := g.Revoke("alice"); messages.CodeOf(err) != messages.FailedPrecondition {
		t.Error(err)
	}
	if _, _, err := g.Add(messages.NewKey{Name: "alice", Role: messages.Role_READ}); messages.CodeOf(err) != messages.Conflict {
		t.Error(err)
	}
}
