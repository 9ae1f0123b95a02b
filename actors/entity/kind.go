package entity

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Stamp carries what a pure Decide may not fetch: the time, a fresh id, and what the kind observed of the world.
type Stamp struct {
	Now time.Time
	ID  string
	// Readings is what Observe gave for the command; nil when it gave nothing.
	Readings proto.Message
}

// Verdict is what Decide gives: the events, and the answer once they are stored.
type Verdict struct {
	Events []proto.Message
	// Answer is made from the state after the events; nil answers Done.
	Answer func(sequence uint64) proto.Message
}

// Facts is the verdict that these events happened, answered with Done.
func Facts(events ...proto.Message) Verdict { return Verdict{Events: events} }

// Effect is work that a state owes. Effects are values; two with one key are the same work.
type Effect interface {
	Key() string
}

// Paced is an effect with its own back-off between tries.
type Paced interface {
	Effect
	// Pace is the pause after the first try that left the work owed, and the longest pause.
	Pace() (first, longest time.Duration)
}

// Delayed is an effect whose first try begins after a delay. A timer is one that reports at once when its delay is over. In each incarnation
// the delay restarts.
type Delayed interface {
	Effect
	Delay() time.Duration
}

// Kind is what makes an actor of one kind: pure functions, and Perform, which touches the world.
type Kind[S any] struct {
	Name string
	// Fold is the version of Evolve. Raise it when Evolve makes another state of the same events: older snapshots are then ignored.
	Fold   uint32
	New    func(messages.ActorID) S
	Decide func(S, proto.Message, Stamp) (Verdict, error)
	// Evolve folds an event; sequence is its decision's. It is total: an event can't be refused.
	Evolve func(s S, event proto.Message, sequence uint64) S
	Owed   func(S) []Effect
	// Perform does owed work and returns the command that reports it, or nil when there is nothing to report. Work that is still owed
	// afterwards is tried again after a back-off.
	Perform func(context.Context, Effect) (proto.Message, error)
	View    func(S) proto.Message
	// Observe reads the world for a command before Decide sees it: Stamp.Readings. Readings are advice and may be old when the decision is
	// stored. Optional.
	Observe func(context.Context, proto.Message) proto.Message
	// Accepted is called for each command that Decide didn't refuse, once its events are stored. It is for what must not be in the journal,
	// such as the start of a timer. Optional.
	Accepted func(messages.ActorID, proto.Message)
}
