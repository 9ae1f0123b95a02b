package rest

import (
	"net"
	"strconv"
	"strings"

	"modelops/messages"
)

// address checks that the server will be reached from this machine only.
func address(bind string, port int) (string, error) {
	host := strings.Trim(bind, "[]")
	switch {
	case host == "" || strings.EqualFold(host, "localhost"):
		host = "127.0.0.1" // not what some hosts file says
	case !isLoopback(host):
		return "", messages.Errorf(messages.FailedPrecondition, "rest bind address", "%q can be reached from outside, and there are no certificates yet to guard it", bind).
			WithHint("bind to 127.0.0.1, and use an SSH tunnel to reach it from elsewhere")
	}
	if port < 0 || port > 65535 {
		return "", messages.Errorf(messages.InvalidArgument, "rest port", "%d is no port", port).WithHint("write a number from 1 to 65535, or 0 for any that is free")
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// isThisMachine says whether a Host header, or the host of an Origin, names this machine in a way that no DNS can change.
func isThisMachine(hostport string) bool {
	host := hostport
	if h, port, err := net.SplitHostPort(hostport); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return false
		}
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.EqualFold(host, "localhost") || isLoopback(host)
}
