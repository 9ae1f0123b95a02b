package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
)

// ownCA stands for the CA of the data directory.
const ownCA = "auto"

var dnsName = regexp.MustCompile(`^(?i:[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)(\.(?i:[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?))*\.?$`)

// Address is a bind address without brackets; empty stands for 127.0.0.1.
func Address(bind string) string {
	bind = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(bind), "["), "]")
	if bind == "" || strings.EqualFold(bind, "localhost") {
		return "127.0.0.1" // not what a hosts file may say
	}
	return bind
}

// NeedsTLS says why an address that other machines reach may not be listened on as configured; empty when it may.
func (s Server) NeedsTLS() string {
	if s.TLS.On() || s.Insecure {
		return ""
	}
	return "can be reached from other machines, and without TLS anyone on the way can read and change keys, prompts and answers"
}

// TLSHint is the way out of NeedsTLS.
const TLSHint = "server.tls: {auto: true} (a certificate of this host's own CA; `modelops certs show` has what clients need), server.tls: {cert, key}, " +
	"server.insecure: true where the network is trusted or a proxy in front speaks TLS, or bind: 127.0.0.1"

// bind checks what an address says by itself. What a name leads to is known at the start.
func (k *checker) bind() {
	at, bind := []string{"server", "bind"}, Address(k.Server.Bind)
	ip, err := netip.ParseAddr(bind)
	switch {
	case err != nil && (!dnsName.MatchString(bind) || looksNumeric(bind)):
		k.wrong(at, fmt.Sprintf("%q is no address and no name", clip(k.Server.Bind)), "127.0.0.1, 0.0.0.0, ::, an address of this machine, or its name")
	case err == nil && ip.Zone() != "" && !ip.IsLinkLocalUnicast():
		k.wrong(at, fmt.Sprintf("%q has a zone", clip(k.Server.Bind)), "the address alone: only link-local ones (fe80::) have zones")
	case err == nil && ip.IsMulticast():
		k.wrong(at, fmt.Sprintf("%q is a multicast address", clip(k.Server.Bind)), "an address of this machine")
	case err == nil && !ip.Unmap().IsLoopback() && k.Server.NeedsTLS() != "" && !k.doubtful("server.tls", "server.insecure"):
		k.wrong(at, fmt.Sprintf("%q %s", clip(k.Server.Bind), k.Server.NeedsTLS()), TLSHint)
	}
	list := k.root.walk("server", "names")
	for i, name := range k.Server.Names {
		if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err != nil && (!dnsName.MatchString(name) || looksNumeric(name)) {
			k.add(list.item(i), index("server.names", i), fmt.Sprintf("%q is no name", clip(name)), "a DNS name or an address, without scheme and port")
		}
	}
}

// looksNumeric: 127.1 and 1.2.3 are addresses to some programs and names to others.
func looksNumeric(host string) bool { return strings.Trim(host, "0123456789.") == "" }

func (k *checker) tls() {
	t, at := k.Server.TLS, []string{"server", "tls"}
	switch {
	case k.broken("server.tls"):
	case t.Auto && (t.Cert != "" || t.Key != ""):
		k.wrong(at, "auto and cert exclude each other", "auto: true, or cert and key")
	case (t.Cert == "") != (t.Key == ""):
		k.wrong(at, "cert and key belong together", "both of them")
	case t.ClientCA != "" && !t.On():
		k.wrong(append(at, "client_ca"), "is given, and the doors don't speak TLS", "auto: true, or cert and key")
	}
}

var originForm = regexp.MustCompile(`^[a-z][a-z0-9+.-]*://[^/?#@\s]+$`)

// origins checks the pages of other sites: an entry that never matches is a mistake.
func (k *checker) origins() {
	list := k.root.walk("server", "cors", "origins")
	for i, o := range k.Server.CORS.Origins {
		at := index("server.cors.origins", i)
		switch {
		case k.broken(at), o == "*":
		case o == "null":
			k.add(list.item(i), at, `"null" is the origin of every file and sandboxed frame`, "the origin of a page")
		case !originForm.MatchString(o) || !originHost(o):
			k.add(list.item(i), at, fmt.Sprintf("%q is no origin", clip(o)), "scheme://host or scheme://host:port, without a path, such as https://chat.example.com or http://localhost:*")
		}
	}
}

// originHost tells whether the host of an origin can be one. A star stands for the port, or for all labels before a name.
func originHost(o string) bool {
	scheme, host, _ := strings.Cut(o, "://")
	host = strings.TrimSuffix(host, ":*")
	if rest, any := strings.CutPrefix(host, "*."); any {
		host = rest
	}
	u, err := url.Parse(scheme + "://" + host)
	if err != nil || strings.Contains(host, "*") || u.Host != host || u.Hostname() == "" {
		return false
	}
	return net.ParseIP(u.Hostname()) != nil || dnsName.MatchString(u.Hostname())
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(Address(host))
	return err == nil && ip.Zone() == "" && ip.Unmap().IsLoopback()
}

// AnonymousEverywhere tells whether requests of other machines need no key: only where both the role and the lack of safety are written down.
// started is what the process started with: server.insecure counts from a start on, and ends at once.
func (c *Config) AnonymousEverywhere(started *Config) bool {
	_, written := c.origins["server.anonymous"]
	return written && c.Server.Insecure && started.Server.Insecure && !c.Server.RequireKey && c.Server.Anonymous != "none"
}
