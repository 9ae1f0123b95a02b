package config

import (
	"net"
	"net/url"
)

// NATS names an existing NATS cluster that this host joins as a leaf: its hub. The embedded server stays, and works without the hub.
type NATS struct {
	Hub          []string `yaml:"hub" single:"true" jsonschema_description:"Leafnode listeners of an existing NATS cluster that this host joins: nats://HOST:PORT or tls://HOST:PORT. Several are several servers of that cluster."`
	Credentials  string   `yaml:"hub_credentials" jsonschema_description:"File of a user's JWT and seed for the hub, such as nsc writes. Relative to this file."`
	User         string   `yaml:"hub_user" jsonschema_description:"User of the hub, with hub_password_file."`
	PasswordFile string   `yaml:"hub_password_file" jsonschema_description:"File whose first line is the user's password. Relative to this file."`
	Domain       string   `yaml:"hub_domain" jsonschema_description:"JetStream domain of the hub, which journal.archive needs."`
	CA           string   `yaml:"hub_ca" jsonschema_description:"CA of the hub's certificates, PEM; it makes the connection TLS. Relative to this file. Empty with tls:// is the system's CAs."`
}

const hubPort = "7422" // NATS's own for leafnodes

// HubURLs are the leafnode listeners of the hub; empty = there is none.
func (n NATS) HubURLs() (out []*url.URL) {
	for _, text := range n.Hub {
		if u, what := hubURL(text); what == "" {
			out = append(out, u)
		}
	}
	return out
}

// HubTLS tells whether the hub is spoken with over TLS.
func (n NATS) HubTLS() bool {
	for _, u := range n.HubURLs() {
		if u.Scheme == "tls" {
			return true
		}
	}
	return n.CA != ""
}

// hubURL reads the address of a leafnode listener; what says what is wrong with it.
func hubURL(text string) (_ *url.URL, what string) {
	u, err := url.Parse(text)
	switch {
	case err == nil && u.Scheme != "nats" && u.Scheme != "tls":
		return nil, "is neither nats:// nor tls://"
	case err != nil || u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "":
		return nil, "is no address"
	case u.User != nil:
		return nil, "holds a user or a password"
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), hubPort)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, ""
}
