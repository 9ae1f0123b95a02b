package main

import (
	"net"
	"net/netip"
	"os"
)

// advertised is where other hosts reach a listener of this one. A wildcard is no address for them: the first of server.names stands for it, else the
// machine's own name.
func (d *daemon) advertised(listens string) string {
	host, port, err := net.SplitHostPort(listens)
	if err != nil {
		return listens
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
