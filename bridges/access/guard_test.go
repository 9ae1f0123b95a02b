package access

import (
	"crypto/sha256"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

var (
	local   = netip.MustParseAddr("127.0.0.1")
	remote  = netip.MustParseAddr("192.0.2.7")
	fronted = netip.MustParseAddr("10.0.0.2")
)

const operatorKey = "0p-secret-0p"

// clock is a time that tests move.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

// guarded is a guard with an empty store, at noon.
func guarded(t *testing.T, r Rules) (*Guard, *clock, *[]string) {
	t.Helper()
	c, cut := &clock{time.Date(2027, 1, 1, 12, 0, 0, 0, time.UTC)}, &[]string{}
	store, err := OpenStore(t.TempDir(), c.now, func(f string) { *cut = append(*cut, f) })
	if err != nil {
		t.Fatal(err)
	}
	g := New(Options{Store: store, Now: c.now, OperatorName: "operator", Operator: func(key string) (messages.Principal, bool) {
		return messages.Principal{Name: "operator", Fingerprint: "0p", Role: messages.Role_ADMIN}, key == operatorKey
	}})
	g.Follow(r)
	return g, c, cut
}

func configured(key string, p messages.Principal) map[Sum]messages.Principal {
	return map[Sum]messages.Principal{sha256.Sum256([]byte(key)): p}
}

// Who a request's sender is, by what it carries and where it comes from.
func TestAuthenticate(t *testing.T) {
	open := Rules{Anonymous: messages.Role_READ, Class: "normal"}
	closed := Rules{Class: "normal"}
	keyed := Rules{Anonymous: messages.Role_READ, Class: "normal", Keys: configured("alice-key", messages.Principal{Name: "alice", Role: messages.Role_OPERATE})}
	everywhere := open
	everywhere.Everywhere = true
	proxied := Rules{Anonymous: messages.Role_READ, Class: "normal", Proxy: Proxy{From: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/30")}, UserHeader: "X-User", RoleHeader: "X-Groups",
		Roles: map[string]messages.Role{"ops": messages.Role_OPERATE, "all": messages.Role_INFER}}}
	local6 := netip.MustParseAddr("::1")
	for _, c := range []struct {
		what   string
		rules  Rules
		peer   netip.Addr
		key    string
		header http.Header
		want   string // name and role, or a code
	}{
		{"nobody on this machine", open, local, "", nil, " read"},
		{"nobody on this machine, IPv6", open, local6, "", nil, " read"},
		{"an OpenAI client's key", open, local, "sk-any", nil, " read"},
		{"nobody from elsewhere", open, remote, "", nil, "UNAUTHENTICATED"},
		{"an OpenAI client's key from elsewhere", open, remote, "sk-any", nil, "UNAUTHENTICATED"},
		{"nobody from nowhere", open, netip.Addr{}, "", nil, "UNAUTHENTICATED"},
		{"nobody from elsewhere where that is said", everywhere, remote, "", nil, " read"},
		{"nobody where a key is required", closed, local, "", nil, "UNAUTHENTICATED"},
		{"an unknown key where one is required", closed, local, "sk-any", nil, "UNAUTHENTICATED"},
		{"the operator", closed, remote, operatorKey, nil, "operator admin"},
		{"the operator's key, cut", closed, local, operatorKey[:5], nil, "UNAUTHENTICATED"},
		{"a key of the configuration", keyed, remote, "alice-key", nil, "alice operate"},
		{"an unknown key where there is one", keyed, local, "alice-kez", nil, "UNAUTHENTICATED"},
		{"nobody where there is a key", keyed, local, "", nil, " read"},
		{"a header from elsewhere", proxied, remote, "", http.Header{"X-User": {"eve"}, "X-Groups": {"ops"}}, "UNAUTHENTICATED"},
		{"a header from this machine", proxied, local, "", http.Header{"X-User": {"eve"}, "X-Groups": {"ops"}}, " read"},
		{"the proxy's header", proxied, fronted, "", http.Header{"X-User": {"bob"}, "X-Groups": {"x, all,ops"}}, "bob operate"},
		{"the proxy's caller without a group", proxied, fronted, "", http.Header{"X-User": {"bob"}}, "bob none"},
		{"a caller's header before the proxy's", proxied, fronted, "", http.Header{"X-User": {"eve", "bob"}, "X-Groups": {"ops"}}, "UNAUTHENTICATED"},
		{"a caller's groups before the proxy's", proxied, fronted, "", http.Header{"X-User": {"bob"}, "X-Groups": {"ops", "x"}}, "UNAUTHENTICATED"},
		{"the proxy without a caller", proxied, fronted, "", nil, "UNAUTHENTICATED"},
		{"an unknown key beside the proxy's header", proxied, fronted, "sk-any", http.Header{"X-User": {"bob"}, "X-Groups": {"ops"}}, "UNAUTHENTICATED"},
	} {
		g, _, _ := guarded(t, c.rules)
		p, err := g.Authenticate(t.Context(), messages.Credentials{Key: c.key, Peer: c.peer, Header: c.header})
		got := p.Name + " " + messages.RoleName(p.Role)
		if err != nil {
			got = messages.CodeOf(err).String()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
		if err != nil && c.key != "" && strings.Contains(err.Error(), c.key) {
			t.Errorf("%s: the refusal tells the key", c.what)
		}
	}
}

// A key of the configuration ends at its time, and other rules are in force at once.
func TestConfiguredKeysEnd(t *testing.T) {
	g, c, _ := guarded(t, Rules{Keys: configured("alice-key", messages.Principal{Name: "alice", Role: messages.Role_READ, Until: time.Date(2027, 1, 2, 0, 0, 0, 0, time.UTC)})})
	ask := func() error {
		_, err := g.Authenticate(t.Context(), messages.Credentials{Key: "alice-key", Peer: remote})
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	c.at = c.at.Add(12 * time.Hour)
	if err := ask(); messages.CodeOf(err) != messages.Unauthenticated || !strings.Contains(err.Error(), "expired") || strings.Contains(err.Error(), "alice") {
		t.Error(err)
	}
	if ended := g.Follow(Rules{Keys: configured("alice-key", messages.Principal{Name: "alice", Fingerprint: "f00", Role: messages.Role_INFER})}); len(ended) != 1 {
		t.Errorf("the connections of %q end", ended)
	}
	if ended := g.Follow(Rules{}); len(ended) != 1 || ended[0] != "f00" {
		t.Errorf("the connections of %q end", ended)
	}
	if err := ask(); messages.CodeOf(err) != messages.Unauthenticated || strings.Contains(err.Error(), "expired") {
		t.Error(err)
	}
}

// What a proxy says of callers is meant for this host alone, under whatever name, and as the configuration says now.
func TestTheProxysHeadersAreKnown(t *testing.T) {
	g, _, _ := guarded(t, Rules{Proxy: Proxy{UserHeader: "X-Forwarded-User"}})
	if got := g.ProxyHeaders(); len(got) != 0 {
		t.Errorf("%q without a proxy", got)
	}
	g.Follow(Rules{Proxy: Proxy{From: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}, UserHeader: "x-HOUSE-user", RoleHeader: "x-house-roles"}})
	if got := g.ProxyHeaders(); !slices.Equal(got, []string{"X-House-User", "X-House-Roles"}) {
		t.Errorf("%q", got)
	}
}
