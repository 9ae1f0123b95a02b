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
		`[{host: pc2, wake: {mac: "01:23:45:67:89:ab", after: 10s}}]`:               "",
		`[{host: pc2, wake: {mac: "01:23:45:67:89"}}]`:                              "mac",
		`[{host: pc2, wake: {after: 10s}}]`:                                         "mac",
		`[{host: pc2, wake: {mac: "01:23:45:67:89:ab", address: "192.168.1.255"}}]`: "no address with a port",
	} {
		c, err := Load(write(t, "cluster: {peers: "+text+"}"), nil, "")
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", text, err, want)
		case strings.Contains(text, "wake"):
			if want == "" && (len(c.Others()) != 0 || c.WakeOf("pc2").MAC == "" || c.WakeOf("pc3") != nil) {
				t.Errorf("%s: others %v", text, c.Others())
			}
		case want == "" && (len(c.Others()) != 1 || c.Others()[0].Host != "pc2"):
			t.Errorf("%s: others %v", text, c.Others())
		}
	}
}

func TestCertificatesOfOnesOwnAreThreeFiles(t *testing.T) {
	for text, fine := range map[string]bool{"ca: a, cert: b, key: c": true, "ca: a, cert: b": false, "key: c": false, "port: 1": true} {
		c, err := Load(write(t, "cluster: {"+text+"}"), nil, "")
		if (err == nil) != fine {
			t.Errorf("%s: %v", text, err)
		}
		if err == nil && c.Cluster.CA != "" && !strings.HasPrefix(c.Cluster.CA, "/") {
			t.Errorf("%s is no path from the root", c.Cluster.CA)
		}
	}
}
