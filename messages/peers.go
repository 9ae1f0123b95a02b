package messages

import (
	"context"

	"google.golang.org/protobuf/proto"
)

// Peers reaches the other hosts of the cluster over their links. A host that can't be reached is Unavailable at once, with a retry time: nothing is
// queued for it.
type Peers interface {
	// Ask sends a command to an actor of a host, as Door does, and waits for its answer. The host must not be this one.
	Ask(ctx context.Context, host string, to ActorID, command proto.Message) (Reply, error)
	// Tell sends a command whose loss needs no repair.
	Tell(ctx context.Context, host string, to ActorID, command proto.Message)
	// Call runs an operation at a host, for the caller in ctx.
	Call(ctx context.Context, host, operation string, request proto.Message) (proto.Message, error)
	// Reports asks for what changed at a host since a version of its projection; it waits for a change up to the wait in the request.
	Reports(ctx context.Context, host string, r *ReportRequest) (*Report, error)
	// Pages asks for decisions of a host's journal.
	Pages(ctx context.Context, host string, r *PageRequest) (*PageReply, error)
	// Beat sends a heartbeat to every host to which a link is up.
	Beat(h *Heartbeat)
}

// PeerProtocol is the version of what hosts say to each other. A host works with neighbours one version away.
const PeerProtocol, OldestPeerProtocol = 1, 1
