package grpcapi

import (
	"context"
	"net"
	"slices"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// counted is a connection that is told of its calls, so that a full listener knows which one to close.
type counted interface {
	SetIdle(idle bool)
	CallBegan()
	CallEnded()
}

// counting are credentials that give each call its connection.
type counting struct {
	credentials.TransportCredentials
}

// ServerHandshake implements credentials.TransportCredentials.
func (c counting) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	in, ok := raw.(counted)
	if ok {
		in.SetIdle(true)
	}
	conn, info, err := c.TransportCredentials.ServerHandshake(raw)
	if ok && err == nil {
		info = onConn{info, in}
	}
	return conn, info, err
}

// Clone implements credentials.TransportCredentials.
func (c counting) Clone() credentials.TransportCredentials {
	return counting{c.TransportCredentials.Clone()}
}

// onConn is what is known of a call's connection.
type onConn struct {
	credentials.AuthInfo
	conn counted
}

// began notes the begin of a call; its end is told to what it returns, nil when nobody asks. A method that anybody may call doesn't count: a
// stranger could hold its connection with it.
func began(ctx context.Context, method string) counted {
	p, ok := peer.FromContext(ctx)
	if !ok || slices.Contains(openMethods, method) {
		return nil
	}
	at, ok := p.AuthInfo.(onConn)
	if !ok {
		return nil
	}
	at.conn.CallBegan()
	return at.conn
}
