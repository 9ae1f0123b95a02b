package grpcapi

import (
	"net/netip"

	"modelops/messages"
)

// loopback reads a bind address and refuses all that could be reached from outside this machine: there are no
// certificates yet, so whoever reaches the port may do everything.
func loopback(bind string) (string, error) {
	if bind == "localhost" {
		return "127.0.0.1", nil
	}
	if a, err := netip.ParseAddr(bind); err == nil && a.Unmap().IsLoopback() {
		return bind, nil
	}
	return "", messages.Errorf(messages.FailedPrecondition, "grpc bind "+bind,
		"%q is not a loopback address, and the server has neither keys nor certificates to guard another", bind).
		WithHint("bind to 127.0.0.1 and reach it through an SSH tunnel")
}
