package config

import (
	"fmt"
	"strings"
	"testing"

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

// A key is needed only where one is required. A wrong one is refused wherever keys are configured.
func TestAuthenticate(t *testing.T) {
	const noKeys, required = "", twoKeys + "server: {require_key: true}\n"
	for _, c := range []struct {
		what, config, key string
		want              string // name and class, or the code of the refusal
	}{
		{"no keys, none sent", noKeys, "", " normal"},
		{"no keys, a client of OpenAI's API sends one", noKeys, "sk-1", " normal"},
		{"none sent, none required", twoKeys, "", " normal"},
		{"none sent, one required", required, "", "UNAUTHENTICATED"},
		{"managing needs one too", required, "", "UNAUTHENTICATED"},
		{"a known one", required, "canary-alice", "alice interactive"},
		{"a known one manages", twoKeys, "canary-alice", "alice interactive"},
		{"an unknown one", twoKeys, "canary-alicf", "UNAUTHENTICATED"},
		{"an unknown one doesn't manage", twoKeys, "canary-alicf", "UNAUTHENTICATED"},
	} {
		p, err := load(t, c.config, "", "ALICE_KEY=canary-alice").Authenticate(t.Context(), messages.Credentials{Key: c.key})
		got := p.Name + " " + p.Class
		if err != nil {
			got = messages.CodeOf(err).String()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
		if err == nil && (!p.May(messages.Role_ADMIN) || (p.Name == "") != (p.Fingerprint == "")) {
			t.Errorf("%s: %+v", c.what, p)
		}
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
