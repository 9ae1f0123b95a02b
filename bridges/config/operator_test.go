package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"modelops/messages"
)

func TestOperatorIsWrittenOnce(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadOperator(dir); messages.CodeOf(err) != messages.NotFound {
		t.Fatalf("without a file: %v", err)
	}
	keys := make([]string, 8)
	var starts sync.WaitGroup
	for i := range keys {
		starts.Go(func() {
			o, err := EnsureOperator(dir)
			if err != nil {
				t.Error(err)
			}
			keys[i] = o.Key()
		})
	}
	starts.Wait()
	for _, k := range keys {
		if k != keys[0] || len(k) < 64 {
			t.Errorf("starts at the same time have %q and %q", keys[0], k)
		}
	}
	info, err := os.Stat(filepath.Join(dir, OperatorFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("%d files are left, want 1", len(left))
	}
	o, err := ReadOperator(dir)
	if err != nil || o.Key() != keys[0] {
		t.Errorf("read again: %v", err)
	}
}

// What others could have read or put there isn't a secret.
func TestOperatorMustBeGuarded(t *testing.T) {
	good := operatorPrefix + strings.Repeat("a1", operatorBits/8)
	for name, plant := range map[string]func(path string) error{
		"read by the group":  func(p string) error { return os.WriteFile(p, []byte(good), 0o640) },
		"read by all":        func(p string) error { return os.WriteFile(p, []byte(good), 0o604) },
		"written by all":     func(p string) error { return os.WriteFile(p, []byte(good), 0o600) },
		"a link":             func(p string) error { _ = os.WriteFile(p+".x", []byte(good), 0o600); return os.Symlink(p+".x", p) },
		"a directory":        func(p string) error { return os.Mkdir(p, 0o700) },
		"empty":              func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"too short a secret": func(p string) error { return os.WriteFile(p, []byte(good[:20]), 0o600) },
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, OperatorFile)
		if err := plant(path); err != nil {
			t.Fatal(err)
		}
		if name == "written by all" {
			if err := os.Chmod(path, 0o602); err != nil {
				t.Fatal(err)
			}
		}
		for _, open := range []func(string) (Operator, error){EnsureOperator, ReadOperator} {
			o, err := open(dir)
			if e := messages.AsError(err); err == nil || e.Code != messages.FailedPrecondition || e.Hint == "" || o.Key() != "" {
				t.Errorf("%s: %v", name, err)
			}
			if err != nil && strings.Contains(err.Error(), "a1a1") {
				t.Errorf("%s: the error tells the key", name)
			}
		}
	}
}

func TestOperatorOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	dir := t.TempDir()
	o, err := EnsureOperator(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(dir, OperatorFile), 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if again, err := ReadOperator(dir); err != nil || again != o {
		t.Errorf("root may not read it: %v", err)
	}
}

func TestOperatorIsItsKeyOnly(t *testing.T) {
	o, err := EnsureOperator(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if p := o.Principal(); !o.Is(o.Key()) || p.Name != "operator" || len(p.Fingerprint) != 12 || !p.May(messages.Role_ADMIN) {
		t.Errorf("%+v", p)
	}
	for _, key := range []string{"", o.Key() + "0", o.Key()[:len(o.Key())-1], "operator"} {
		if o.Is(key) || (Operator{}).Is(key) {
			t.Errorf("%q is it", key)
		}
	}
	if text := fmt.Sprintf("%v %+v %#v", o, o, o); strings.Contains(text, o.Key()[10:]) {
		t.Errorf("the credential is shown: %s", text)
	}
}
