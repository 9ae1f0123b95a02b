package config

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

const twoKeys = `
keys:
  - {name: alice, key: "${ALICE_KEY}", class: interactive}
  - {name: bob, sha256: 5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8}
`

func TestKeyOf(t *testing.T) {
	// The hash is that of "password".
	c := load(t, twoKeys, "", "ALICE_KEY=canary-alice")
	for key, want := range map[string]string{
		"canary-alice": "alice interactive", "password": "bob normal", "canary-alicf": "", "Password": "", "": "",
		c.Keys[0].SHA256: "", // the hash is no key
	} {
		got := ""
		if k, ok := c.KeyOf(key); ok {
			got = k.Name + " " + k.Class
		}
		if got != want {
			t.Errorf("%q is %q's, want %q", key, got, want)
		}
	}
	if f := c.Keys[0].Fingerprint(); len(f) != 12 || strings.Contains(f, "canary") {
		t.Errorf("fingerprint %q", f)
	}
}

// What a key may do stands beside it; what a file of before says of it still means the same.
func TestWhatAKeyMayDo(t *testing.T) {
	const file = "keys: [{name: a, key: canary-a}, {name: b, key: canary-b, role: infer, models: [org/*], operations: [Infer], expires: 2030-01-31}]"
	c := load(t, file, "")
	if p := c.Keys[0].Principal(); p.Role != messages.Role_OPERATE || p.Scope != nil || !p.Until.IsZero() || p.Class != "normal" {
		t.Errorf("%+v", p)
	}
	p := c.Keys[1].Principal()
	if p.Role != messages.Role_INFER || p.Name != "b" || p.Until.Format(time.RFC3339) != "2030-02-01T00:00:00Z" {
		t.Errorf("%+v", p)
	}
	if p.AllowsInference(messages.Model{Name: "org/x"}) != nil || p.AllowsInference(messages.Model{Name: "other"}) == nil {
		t.Errorf("%+v", p.Scope)
	}
}

// TestKeysAreNotKept: neither what is shown nor the value itself, however it is printed, holds a key.
func TestKeysAreNotKept(t *testing.T) {
	c := load(t, "keys: [{name: a, key: canary-1}, {name: b, key: \"${X}\"}]\ntitle: canary-1 and canary-2", "", "X=canary-2")
	var b strings.Builder
	if err := c.Print(&b); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "canary") || !strings.Contains(b.String(), hidden) {
		t.Errorf("a key is shown:\n%s", b.String())
	}
	if text := fmt.Sprintf("%+v", c.Keys); strings.Contains(text, "canary") {
		t.Errorf("a key is kept: %s", text)
	}
}

// TestMistakesDontTellKeys: a canary in every wrong place around keys.
func TestMistakesDontTellKeys(t *testing.T) {
	for _, text := range []string{
		"keys: canary", "keys: [canary]", "keys: [{name: a, key: canary}]", "keys: [{name: a, key: [canary]}]", "keys: [{key: canary-long}]",
		"keys: [{name: a, sha256: canary}]", "keys: {a: canary}", "keys: [{name: a, key: canary-long}, {name: b, key: canary-long}]",
		"hosts: {pc2: {keys: canary}}", "keys: [{name: a, key: \"canary canary\"}]", "keys: [{name: a, key: canary-long, class: none}]",
	} {
		_, err := Load(write(t, text), []string{"MOC_KEYS__9__KEY=canary"}, "")
		if err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
