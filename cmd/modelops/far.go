package main

import (
	"context"

	"google.golang.org/protobuf/proto"

	"modelops/actors/cluster"
	"modelops/actors/view"
	"modelops/messages"
)

// farDoor reaches the actors of every host of the cluster: those of this host in the tree, others over the links, and the arbiter where the seat is.
type farDoor struct {
	host  string
	tree  messages.Door
	peers messages.Peers
	seat  *cluster.Cluster // whose arbiter places; nil = this host's own
}

// Ask implements messages.Door.
func (f *farDoor) Ask(ctx context.Context, to messages.ActorID, command proto.Message) (messages.Reply, error) {
	here := func() (messages.Reply, error) { return f.tree.Ask(ctx, to, command) }
	there := func(ctx context.Context, host string) (messages.Reply, error) {
		return f.peers.Ask(ctx, host, to, command)
	}
	q, asks := command.(*messages.QueryHolding)
	switch {
	case to == messages.ArbiterActor() && asks && q.Arbiter != "": // the arbiter that decided on the lease knows it, also when another one has the seat now
		if q.Arbiter == f.host {
			return here()
		}
		return there(ctx, q.Arbiter)
	case to == messages.ArbiterActor() && f.seat != nil:
		return cluster.Ask(ctx, f.seat, here, there)
	case f.isHere(to):
		return here()
	}
	return there(ctx, to.Host())
}

// Tell implements messages.Door.
func (f *farDoor) Tell(ctx context.Context, to messages.ActorID, command proto.Message) {
	at := to.Host()
	switch {
	case to == messages.ArbiterActor() && f.seat != nil:
		at = f.seat.Seat(ctx)
	case f.isHere(to):
		at = f.host
	}
	if at == f.host {
		f.tree.Tell(ctx, to, command)
		return
	}
	f.peers.Tell(ctx, at, to, command)
}

// isHere is true for actors without a host, and for names that are none: the tree refuses those.
func (f *farDoor) isHere(to messages.ActorID) bool {
	at := to.Host()
	return at == "" || at == f.host || at == "*"
}

// recoveredDoor is the tree for other hosts: an actor that hasn't recovered yet isn't one that knows nothing.
type recoveredDoor struct {
	messages.Door
	host string
	over func() bool
}

// Ask implements messages.Door.
func (r recoveredDoor) Ask(ctx context.Context, to messages.ActorID, command proto.Message) (messages.Reply, error) {
	if !r.over() {
		return messages.Reply{}, starting(r.host)
	}
	return r.Door.Ask(ctx, to, command)
}

// Tell implements messages.Door.
func (r recoveredDoor) Tell(ctx context.Context, to messages.ActorID, command proto.Message) {
	if r.over() {
		r.Door.Tell(ctx, to, command)
	}
}

// recoveredReporter reports once all actors have recovered: before, other hosts would take models that aren't read yet for withdrawn, and refuse the requests
// that wait for them.
type recoveredReporter struct {
	view.Reporter
	over func() bool
}

// Report implements peer.Reporter.
func (r recoveredReporter) Report(ctx context.Context, q *messages.ReportRequest) (*messages.Report, error) {
	if !r.over() {
		return nil, starting(r.Host)
	}
	return r.Reporter.Report(ctx, q)
}

func starting(host string) *messages.Error {
	return messages.NewError(messages.Unavailable, "host "+host, "it is starting: its actors read their journal").WithRetry(retryStarting)
}
