package main

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	"modelops/messages"
)

// listen opens a door's port on loopback; port 0 takes any that is free. Any client that reaches a port may do everything as long as there are no
// certificates, so an address that can be reached from outside is refused. setting is what a person would change.
func listen(bind string, port int, setting string) (net.Listener, error) {
	host := strings.Trim(bind, "[]")
	if host == "" || strings.EqualFold(host, "localhost") {
		host = "127.0.0.1" // not what a hosts file may say
	}
	if a, err := netip.ParseAddr(host); err != nil || !a.Unmap().IsLoopback() {
		return nil, messages.Errorf(messages.FailedPrecondition, "server.bind", "%q can be reached from outside, and there are no certificates yet to guard it", bind).
			WithHint("bind to 127.0.0.1, and use an SSH tunnel to reach it from elsewhere")
	}
	if port < 0 || port > 65535 {
		return nil, messages.Errorf(messages.InvalidArgument, setting, "%d is no port", port).WithHint("write a number from 1 to 65535, or 0 for any that is free")
	}
	address := net.JoinHostPort(host, strconv.Itoa(port))
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, messages.Errorf(messages.Unavailable, address, "can't listen: %w", err).WithHint("another program may hold the port: choose another " + setting)
	}
	return l, nil
}
