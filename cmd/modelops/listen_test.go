package main

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"modelops/bridges/config"
	"modelops/messages"
)

// Loopback needs nothing. Any other address needs TLS or the word insecure, and somebody with a key; each refusal says how.
func TestWhereTheDoorsListen(t *testing.T) {
	for bind, want := range map[string]string{"": "127.0.0.1", "127.0.0.1": "127.0.0.1", "localhost": "127.0.0.1", "LOCALHOST": "127.0.0.1", "127.8.9.1": "127.8.9.1", "[::1]": "::1", "::": "::", "0.0.0.0": "0.0.0.0",
		"::ffff:127.0.0.1": "127.0.0.1"} {
		at, err := resolve(t.Context(), bind)
		if err != nil || at.String() != want {
			t.Errorf("%q: %v %v", bind, at, err)
			continue
		}
		l, err := listen(at, 0, "server.rest_port")
		if err != nil {
			t.Errorf("%q: %v", bind, err)
			continue
		}
		if got := l.Addr().(*net.TCPAddr).IP; !got.Equal(net.ParseIP(want)) || want == "0.0.0.0" && got.To4() == nil {
			t.Errorf("%q: %s", bind, got)
		}
		_ = l.Close()
	}
	if _, err := resolve(t.Context(), "no-such-name.invalid"); messages.CodeOf(err) != messages.FailedPrecondition || !strings.Contains(err.Error(), "no address") {
		t.Error(err)
	}
	for _, at := range []string{"0.0.0.0", "::", "192.168.1.5", "10.0.0.1", "fe80::1", "2001:db8::1"} {
		bare, secured, plain := config.Server{Bind: at}, config.Server{Bind: at, TLS: config.TLS{Auto: true}}, config.Server{Bind: at, Insecure: true}
		for _, c := range []struct {
			server config.Server
			keys   bool
			want   string // part of the hint; empty = it may
		}{{bare, true, "server.insecure: true"}, {bare, false, "auto: true"}, {secured, false, "modelops keys add"}, {plain, false, "modelops keys add"}, {secured, true, ""}, {plain, true, ""}} {
			err := mayListen(c.server, netip.MustParseAddr(at), c.keys)
			if c.want == "" {
				if err != nil {
					t.Errorf("%s: %v", at, err)
				}
			} else if e := messages.AsError(err); e == nil || e.Code != messages.FailedPrecondition || !strings.Contains(e.Hint, c.want) {
				t.Errorf("%s, keys %t: %v", at, c.keys, err)
			}
		}
	}
	if err := mayListen(config.Server{}, netip.MustParseAddr("127.0.0.1"), false); err != nil {
		t.Error(err)
	}
	if _, err := listen(netip.MustParseAddr("127.0.0.1"), 70000, "server.rest_port"); messages.CodeOf(err) != messages.InvalidArgument {
		t.Errorf("port 70000: %v", err)
	}
	for address, want := range map[string]string{"0.0.0.0:1": "127.0.0.1:1", "[::]:1": "[::1]:1", "10.0.0.1:1": "10.0.0.1:1"} {
		if got := near(address); got != want {
			t.Errorf("%s: %s", address, got)
		}
	}
}

// TestAnAddressWithAZone: a link-local address has a zone on this machine, and none in a certificate or a Host header.
func TestAnAddressWithAZone(t *testing.T) {
	if got := zoned("[fe80::1]:8008", "eth0"); got != "[fe80::1%eth0]:8008" {
		t.Error(got)
	}
	if got := zoned("10.0.0.1:8008", ""); got != "10.0.0.1:8008" {
		t.Error(got)
	}
	cfg := &config.Config{Host: "h", Server: config.Server{Bind: "fe80::1%eth0"}}
	if got := ownNames(cfg); slices.Contains(got, cfg.Server.Bind) {
		t.Errorf("%q is no name", got)
	}
}

func TestATakenPortIsSaid(t *testing.T) {
	l, err := listen(netip.MustParseAddr("127.0.0.1"), 0, "server.rest_port")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, err = listen(netip.MustParseAddr("127.0.0.1"), l.Addr().(*net.TCPAddr).Port, "server.rest_port")
	if messages.CodeOf(err) != messages.Unavailable || !strings.Contains(err.Error(), l.Addr().String()) || !strings.Contains(err.Error(), "server.rest_port") {
		t.Errorf("%v", err)
	}
}
