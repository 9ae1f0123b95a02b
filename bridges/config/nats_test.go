package config

import (
	"strings"
	"testing"
)

func TestHubIsChecked(t *testing.T) {
	for text, want := range map[string]string{
		`hub: nats://hub.lan`:                                                "",
		`hub: ["nats://a:7422", "tls://b"], hub_ca: ca.pem`:                  "",
		`hub: nats://a, hub_credentials: modelops.creds`:                     "",
		`hub: nats://a, hub_user: modelops, hub_password_file: hub.password`: "",
		`hub: {}`:                             "a text or a list of texts",
		`hub: hub.lan`:                        "is neither nats:// nor tls://",
		`hub: [nats://a, "hub.lan:7422"]`:     "is neither nats:// nor tls://",
		`hub: http://a`:                       "is neither nats:// nor tls://",
		`hub: nats://a/path`:                  "is no address",
		`hub: "nats://"`:                      "is no address",
		`hub: "nats://me:swordfish@a"`:        "holds a user or a password",
		`hub_credentials: x`:                  "there is no hub",
		`hub: nats://a, hub_user: modelops`:   "belong together",
		`hub: nats://a, hub_password_file: x`: "belong together",
		`hub: nats://a, hub_user: m, hub_password_file: x, hub_credentials: y`: "one of the two",
	} {
		c, err := Load(write(t, "nats: {"+text+"}"), nil, "")
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want == "" && (len(c.NATS.HubURLs()) != len(c.NATS.Hub) || c.NATS.HubURLs()[0].Port() != "7422"):
			t.Errorf("%s: %v", text, c.NATS.HubURLs())
		case want == "" && c.NATS.HubTLS() != strings.Contains(text, "tls"):
			t.Errorf("%s: TLS %t", text, c.NATS.HubTLS())
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", text, err, want)
		case want != "" && strings.Contains(err.Error(), "swordfish"):
			t.Errorf("%s: the error shows the password", text)
		}
	}
	for text, fine := range map[string]bool{"nats: {hub: nats://a, hub_domain: hub}": true, "nats: {hub: nats://a}": false, "title: x": false} {
		if _, err := Load(write(t, text+"\njournal: {archive: hub}"), nil, ""); (err == nil) != fine || !fine && !strings.Contains(err.Error(), "journal.archive") {
			t.Errorf("%s, and an archive there: %v", text, err)
		}
	}
	c, err := Load(write(t, "{}"), []string{"MOC_NATS__HUB=nats://a,nats://b:1"}, "")
	if err != nil || len(c.NATS.HubURLs()) != 2 || c.NATS.HubURLs()[1].Host != "b:1" {
		t.Errorf("a variable: %v, %v", c, err)
	}
}

// TestPeersAtTheHub: a peer that is reached over the hub needs no address.
func TestPeersAtTheHub(t *testing.T) {
	c, err := Load(write(t, "nats: {hub: nats://a}\ncluster: {peers: [{host: pc2}, {host: main_pc}]}"), nil, "")
	if err != nil || len(c.Others()) != 1 || c.Others()[0].Host != "pc2" {
		t.Errorf("%v, %v", c, err)
	}
}
