package main

import (
	"net/netip"
	"os"
	"testing"

	"modelops/bridges/config"
	"modelops/bridges/peer"
)

func TestAWildcardIsNotAdvertised(t *testing.T) {
	own, err := os.Hostname()
	if err != nil {
		t.Skip(err)
	}
	for _, c := range []struct {
		listens string
		names   []string
		want    string
	}{
		{"127.0.0.1:7422", nil, "127.0.0.1:7422"}, {"192.0.2.1:7422", []string{"x"}, "192.0.2.1:7422"}, {"0.0.0.0:7422", []string{"pc2.lan", "y"}, "pc2.lan:7422"},
		{"[::]:7422", []string{"pc2.lan"}, "pc2.lan:7422"}, {"[::]:7422", nil, own + ":7422"},
	} {
		d := &daemon{cfg: &config.Config{Server: config.Server{Names: c.names}}}
		if got := d.advertised(c.listens); got != c.want {
			t.Errorf("%s is told as %s, want %s", c.listens, got, c.want)
		}
	}
}

func TestOnlyHostsWithCertificatesAreReachedFromOtherMachines(t *testing.T) {
	for _, c := range []struct {
		bind         string
		certificates bool
		want         string
	}{
		{"127.0.0.1", false, "127.0.0.1"}, {"0.0.0.0", false, "127.0.0.1"}, {"127.0.0.1", true, "0.0.0.0"}, {"::1", true, "0.0.0.0"}, {"192.0.2.1", true, "192.0.2.1"}, {"::", true, "::"},
	} {
		d := &daemon{at: netip.MustParseAddr(c.bind)}
		if got := d.atForHosts(c.certificates).String(); got != c.want {
			t.Errorf("server.bind %s, certificates %t: %s, want %s", c.bind, c.certificates, got, c.want)
		}
	}
}

// What is declared without certificates is what the links then dial: both ask the same whether an address is of this machine.
func TestHostsWithoutCertificatesAreOfThisMachine(t *testing.T) {
	for address, want := range map[string]bool{"127.0.0.1:1": true, "localhost:1": true, "LOCALHOST:1": true, "[::1]:1": true, ":1": true, "192.0.2.1:1": false, "pc2.lan:1": false, "[127.0.0.1": false} {
		cfg := &config.Config{Host: "main_pc", Cluster: config.Cluster{Peers: []config.Peer{{Host: "pc2", Address: address}}}}
		trust, err := declared(cfg)
		if (err == nil) != want || want && (!trust.IsMember("pc2") || !peer.IsLoopback(address)) {
			t.Errorf("%s: %v", address, err)
		}
	}
}
