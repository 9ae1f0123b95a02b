package config

import (
	"slices"
	"strings"
	"testing"
)

// An address that other machines reach needs TLS, or a word that says that it does without; the refusal names both.
func TestBindNeedsTLS(t *testing.T) {
	for _, bind := range []string{"0.0.0.0", "::", "[::]", "192.168.1.5", "fe80::1", "2001:db8::1", "::ffff:10.0.0.1"} {
		server := "server: {bind: '" + bind + "'"
		_, err := Load(write(t, server+"}"), nil, "")
		if err == nil || !strings.Contains(err.Error(), "server.bind") || !strings.Contains(err.Error(), "insecure: true") && !strings.Contains(err.Error(), "server.insecure") ||
			!strings.Contains(err.Error(), "auto: true") || !strings.Contains(err.Error(), "read") {
			t.Errorf("%s: %v", bind, err)
		}
		for _, more := range []string{"tls: {auto: true}", "tls: {cert: a.pem, key: b.pem}", "insecure: true"} {
			if _, err := Load(write(t, server+", "+more+"}"), nil, ""); err != nil {
				t.Errorf("%s, %s: %v", bind, more, err)
			}
		}
	}
	for _, bind := range []string{"", "127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost", "LOCALHOST", "gpu1.lan", "my_pc", "::ffff:127.0.0.1"} {
		if _, err := Load(write(t, "server: {bind: '"+bind+"'}"), nil, ""); err != nil {
			t.Errorf("%q: %v", bind, err)
		}
	}
	for _, bind := range []string{"*", "1.2.3", "999.1.1.1", "http://x", "a b", "224.0.0.1", "x:80", "-a"} {
		if _, err := Load(write(t, "server: {bind: '"+bind+"', insecure: true}"), nil, ""); err == nil {
			t.Errorf("%q is taken", bind)
		}
	}
}

func TestServerMistakes(t *testing.T) {
	for _, c := range [][2]string{
		{"tls: {auto: true, cert: a, key: b}", "exclude each other"}, {"tls: {cert: a}", "belong together"}, {"tls: {key: a}", "belong together"},
		{"tls: {client_ca: a}", "don't speak TLS"}, {"names: ['https://x']", "is no name"},
		{"cors: {origins: [example.com]}", "is no origin"}, {"cors: {origins: ['https://example.com/']}", "is no origin"}, {"cors: {origins: ['null']}", "every file"},
		{"cors: {origins: ['https://*']}", "is no origin"}, {"cors: {origins: ['https://a.*.com']}", "is no origin"}, {"cors: {origins: ['https://a@b.com']}", "is no origin"},
	} {
		if _, err := Load(write(t, "server: {"+c[0]+"}"), nil, ""); err == nil || !strings.Contains(err.Error(), c[1]) {
			t.Errorf("%s: %v", c[0], err)
		}
	}
	if _, err := Load(write(t, "server: {cors: {origins: ['https://a.example:8443', 'http://localhost:*', 'https://*.b.example', 'tauri://localhost', '*', 'http://[::1]:5']}}"), nil, ""); err != nil {
		t.Error(err)
	}
}

// Other certificates are read at once; to begin or end to speak TLS needs a restart.
func TestTLSIsReadAgain(t *testing.T) {
	of := func(server string) *Config { return load(t, "server: {"+server+"}", "", "MOC_DATA_DIR=/d") }
	none, own, files := of(""), of("tls: {auto: true}"), of("tls: {cert: a, key: b, client_ca: auto}")
	if d := files.Differs(own); !slices.Contains(d.Changes, "server.tls: changed") || len(d.Restart) > 0 {
		t.Errorf("%+v", d)
	}
	if d := own.Differs(none); len(d.Restart) != 1 {
		t.Errorf("%+v", d)
	}
	if got := files.Server.TLS; got.ClientCA != "auto" || !strings.HasSuffix(got.Cert, "/a") || got.Cert == "a" {
		t.Errorf("%+v", got)
	}
}

// Requests of other machines need a key unless the configuration says twice that they don't.
func TestAnonymousEverywhere(t *testing.T) {
	for server, want := range map[string]bool{"": false, "insecure: true": false, "anonymous: read": false, "insecure: true, anonymous: read": true,
		"insecure: true, anonymous: none": false, "tls: {auto: true}, anonymous: read": false} {
		if c := load(t, "server: {"+server+"}", ""); c.AnonymousEverywhere(c) != want {
			t.Errorf("%s: not %t", server, want)
		}
	}
}

// What a reload says of requests of other machines is what it does: server.insecure waits for the restart that is asked for, and whatever lets them in
// or keeps them out at once is told.
func TestAReloadOpensNoMoreThanItSays(t *testing.T) {
	const opens, shuts = "server.anonymous: requests of other machines need no key any more", "server.anonymous: requests of other machines need a key now"
	const safe, both, insecure = "anonymous: read", "anonymous: read, insecure: true", "insecure: true"
	of := func(server string) *Config { return load(t, "server: {"+server+"}", "", "MOC_DATA_DIR=/d") }
	for _, c := range []struct {
		started, inForce, next string
		open                   bool
		told                   string
		restart                bool
	}{
		{"", "", both, false, "", true},
		{safe, safe, both, false, "", true},
		{insecure, insecure, both, true, opens, false}, // the same role, now written down
		{insecure, both, "insecure: true, anonymous: none", false, shuts, false},
		{both, both, both + ", require_key: true", false, shuts, false},
		{both, both, safe, false, shuts, true},
		{both, safe, both, true, opens, false},
		{both, both, "anonymous: admin, insecure: true", true, "server.anonymous: changed", false},
	} {
		started, inForce, next := of(c.started), of(c.inForce), of(c.next)
		d := next.Follows(inForce, started)
		if open := next.AnonymousEverywhere(started); open != c.open || len(d.Restart) > 0 != c.restart || c.told != "" && !slices.Contains(d.Changes, c.told) {
			t.Errorf("%+v: open: %t, %+v", c, open, d)
		}
		if c.told == "" && (slices.Contains(d.Changes, opens) || slices.Contains(d.Changes, shuts)) {
			t.Errorf("%+v: %q", c, d.Changes)
		}
	}
}
