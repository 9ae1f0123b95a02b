package messages

import (
	"context"
	"time"

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

// PeersFit tells whether the versions of two hosts work together.
func PeersFit(own, said *PeerHello) error {
	if said.Protocol >= oldest(own) && own.Protocol >= oldest(said) {
		return nil
	}
	return Errorf(FailedPrecondition, "host "+said.Host, "%s runs modelops %s with protocol %d, and %s runs %s with protocol %d: only neighbours one protocol apart work together",
		said.Host, versionOf(said), said.Protocol, own.Host, versionOf(own), own.Protocol).WithHint("upgrade the older one")
}

// oldest is what a host understands at least: one protocol back.
func oldest(h *PeerHello) uint32 { return max(h.OldestProtocol, h.Protocol-min(h.Protocol, 1)) }

func versionOf(h *PeerHello) string {
	if h.Version == "" {
		return "of an unknown version"
	}
	return h.Version
}

// Link is what a host knows of the connections between it and another one.
type Link struct {
	Host string
	// To: ours to it is up, and both have agreed on a protocol. From: its to us is up.
	To, From bool
	// ByHub: ours to it goes over the NATS cluster that both have joined.
	ByHub bool
	// Reason says why To is down, in words; empty while it is up.
	Reason string
	RTT    time.Duration
	// Address is where it is dialled.
	Address string
	// ClockOffset is its wall clock minus ours.
	ClockOffset time.Duration
	// Version and Protocol are those that it said in its last hello.
	Version  string
	Protocol uint32
	// Notes are what somebody should do about it; the link works all the same.
	Notes []string
}

type peerKey struct{}

// WithPeer notes in ctx that a host of the cluster passed the request on. Such a request is answered here, and isn't passed on again.
func WithPeer(ctx context.Context, host string) context.Context {
	return context.WithValue(ctx, peerKey{}, host)
}

// PeerFrom is the host that passed the request on; empty = its caller came to this host.
func PeerFrom(ctx context.Context) string {
	host, _ := ctx.Value(peerKey{}).(string)
	return host
}

// PeerCallerOf is a principal as it travels to another host; nil = nobody is known.
func PeerCallerOf(p Principal) *PeerCaller {
	if p.Anonymous() && p.Role == Role_ROLE_UNKNOWN {
		return nil
	}
	c := &PeerCaller{Name: p.Name, Class: p.Class, Fingerprint: p.Fingerprint, Role: RoleName(p.Role)}
	if p.Scope != nil {
		c.Models, c.Operations = p.Scope.Models, p.Scope.Operations
	}
	return c
}

// Principal is the caller that another host has admitted. A role that isn't known here is none.
func (c *PeerCaller) Principal() Principal {
	p := Principal{Name: c.GetName(), Class: c.GetClass(), Fingerprint: c.GetFingerprint()}
	p.Role, _ = ParseRole(c.GetRole())
	if len(c.GetModels())+len(c.GetOperations()) > 0 {
		p.Scope = &Scope{Models: c.GetModels(), Operations: c.GetOperations()}
	}
	return p
}
