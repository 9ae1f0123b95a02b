package peer

import (
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Member is another host of the cluster.
type Member struct {
	Host    string
	Address string // of its cluster port; empty = it isn't known yet
}

// Trust says who belongs to the cluster, and how to be sure of it.
type Trust interface {
	// Server is the TLS configuration of the cluster port; nil = there are no certificates, and the port speaks plain TCP on loopback. It must verify
	// certificates of clients against the cluster's CA when they are given, and not ask for one of those who join.
	Server() *tls.Config
	// Client is the TLS configuration for the cluster port of a host, whose certificate must name it; nil = plain TCP.
	Client(host string) *tls.Config
	// IsMember tells whether a host belongs to the cluster now.
	IsMember(host string) bool
	// Members are the other hosts.
	Members() []Member
	// Changed is closed at the next change of members or certificates.
	Changed() <-chan struct{}
}

// Declared are members without certificates, which never change: on loopback only.
type Declared []Member

// Server implements Trust.
func (Declared) Server() *tls.Config { return nil }

// Client implements Trust.
func (Declared) Client(string) *tls.Config { return nil }

// IsMember implements Trust.
func (d Declared) IsMember(host string) bool {
	return slices.ContainsFunc(d, func(m Member) bool { return m.Host == host })
}

// Members implements Trust.
func (d Declared) Members() []Member { return d }

// Changed implements Trust.
func (Declared) Changed() <-chan struct{} { return nil }

// IsLoopback tells whether an address with a port can't leave this machine. One without a host is of this machine.
func IsLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if host == "" || strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// names tells whether a verified certificate is that of a host.
func names(state tls.ConnectionState, host string) bool {
	if len(state.VerifiedChains) == 0 || len(state.PeerCertificates) == 0 {
		return false
	}
	leaf := state.PeerCertificates[0]
	return leaf.Subject.CommonName == host || slices.Contains(leaf.DNSNames, host)
}
