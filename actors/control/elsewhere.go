package control

import (
	"context"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Hosts are the other hosts of the cluster.
type Hosts interface {
	// Has tells whether a host is a member, reached or not.
	Has(host string) bool
	// Reached tells whether a host can be asked now.
	Reached(host string) bool
	// Call runs an operation at a host, for the caller in ctx: its role and scope hold there.
	Call(ctx context.Context, host, operation string, request proto.Message) (proto.Message, error)
}

// isElsewhere tells whether an operation about a host is for that host to answer. What a peer passed on isn't passed on again.
func (c *Control) isElsewhere(ctx context.Context, host string) bool {
	return c.o.Hosts != nil && host != "" && host != c.o.Host && messages.PeerFrom(ctx) == "" && c.o.Hosts.Has(host)
}

// there runs an operation at another host.
func there[A proto.Message](ctx context.Context, c *Control, host, operation string, request proto.Message) (A, error) {
	m, err := c.o.Hosts.Call(ctx, host, operation, request)
	return answer[A](messages.Reply{Answer: m}, err)
}
