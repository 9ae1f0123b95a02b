package system

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"

	"google.golang.org/grpc/credentials"

	"modelops/messages"
)

// caller is the TLS of connections to other hosts' remotes: the library knows an address only, and the certificate there must be of the member that told it.
type caller struct {
	credentials.TransportCredentials // what else the library asks of it
	to                               func(address string) *tls.Config
}

func newCaller(to func(address string) *tls.Config) caller {
	return caller{credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13}), to}
}

// ClientHandshake implements credentials.TransportCredentials.
func (c caller) ClientHandshake(ctx context.Context, address string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	config := c.to(address)
	if config == nil {
		return nil, nil, messages.Errorf(messages.Unauthenticated, address, "no member of the cluster has told this address")
	}
	return credentials.NewTLS(config).ClientHandshake(ctx, cmp.Or(config.ServerName, address), conn) // the library takes the name from the address it is given
}

// Clone implements credentials.TransportCredentials.
func (c caller) Clone() credentials.TransportCredentials {
	return caller{c.TransportCredentials.Clone(), c.to}
}
