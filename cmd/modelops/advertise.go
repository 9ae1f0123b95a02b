package main

import (
	"net"
	"net/netip"
	"os"
)

// atForHosts is where other hosts reach this one: with certificates from all networks, though the doors for people may be open to this machine alone, unless
// server.bind is a network's address. Without certificates only from this machine.
func (d *daemon) atForHosts(certificates bool) netip.Addr {
	switch {
	case !certificates:
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case d.at.IsLoopback():
		return netip.IPv4Unspecified()
	}
	return d.at
}

// advertised is where other hosts reach a listener of this one. cluster.advertise says so; a wildcard is no address for them: the first of server.names stands for it, else the
// machine's own name.
func (d *daemon) advertised(listens string) string {
	host, port, err := net.SplitHostPort(listens)
	if err != nil {
		return listens
	}
	if told := d.cfg.Advertised(port); told != "" {
		return told
	}
	if at, err := netip.ParseAddr(host); err != nil || !at.IsUnspecified() {
		return listens
	}
	name, err := os.Hostname()
	if names := d.cfg.Server.Names; len(names) > 0 {
		name, err = names[0], nil
	}
	if err != nil {
		return listens
	}
	return net.JoinHostPort(name, port)
}
