package config

import (
	"strings"
	"testing"
)

func TestPeersAreChecked(t *testing.T) {
	for text, want := range map[string]string{
		`[{host: pc2, address: "127.0.0.1:7522"}]`:                                      "",
		`[{host: pc2, address: "[::1]:7522"}, {host: main_pc, address: "localhost:1"}]`: "",
		`[{host: pc2, address: "pc2.lan"}]`:                                             "no address with a port",
		`[{host: pc2, address: "pc2.lan:0"}]`:                                           "no address with a port",
		`[{host: pc2, address: "pc2.lan:x"}]`:                                           "no address with a port",
		`[{host: pc2, address: "127.0.0.1:1"}, {host: pc2, address: "127.0.0.1:2"}]`:    "declared twice",
		`[{host: "a b", address: "127.0.0.1:1"}]`:                                       "host",
		`[{host: pc2}]`: "address",
	} {
		c, err := Load(write(t, "cluster: {peers: "+text+"}"), nil, "")
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", text, err, want)
		case want == "" && (len(c.Others()) != 1 || c.Others()[0].Host != "pc2"):
			t.Errorf("%s: others %v", text, c.Others())
		}
	}
}
