package entity

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Journal is what the shell needs of the journal.
type Journal interface {
	// Append writes one decision. It fails with Conflict when expected isn't the actor's last sequence.
	Append(ctx context.Context, a Append) (sequence uint64, err error)
	// Replay calls fn for each of the actor's decisions after a sequence, in order.
	Replay(ctx context.Context, actor messages.ActorID, after uint64, fn func(messages.Recorded) error) error
	// LoadSnapshot finds the latest snapshot; ok is false when there is none.
	LoadSnapshot(ctx context.Context, actor messages.ActorID) (s Snapshot, ok bool, err error)
	// SaveSnapshot stores a cache of the state. Its failure harms nothing but time.
	SaveSnapshot(ctx context.Context, s Snapshot) error
}

// Append is one decision on its way into the journal.
type Append struct {
	Actor    messages.ActorID
	Expected uint64 // sequence of the actor's last decision, 0 for none
	Events   []proto.Message
	Meta     messages.Meta
	At       time.Time
}

// Snapshot is a state as JSON. It is used only when the schema's fingerprint and the fold's version are those of the running kind.
type Snapshot struct {
	Actor       messages.ActorID
	Sequence    uint64
	Fingerprint string
	Fold        uint32 // version of the fold that made it
	State       []byte
}

// Clock tells the time. Effects that wait use it too, so that tests and the simulator own time.
type Clock interface {
	Now() time.Time
}

// Observer hears what the shell does, for metrics and live views. Its methods must not block.
type Observer interface {
	// StateChanged is called after recovery and after each decision, in the order of the actor's sequence.
	StateChanged(actor messages.ActorID, sequence uint64, view proto.Message)
	// Recovered is called when an incarnation has read its journal.
	Recovered(actor messages.ActorID, decisions int, took time.Duration)
}

// Stamp carries what a pure Decide may not fetch: the time, a fresh id, and what the kind observed of the world.
type Stamp struct {
	Now time.Time
	ID  string
	// Readings is what Observe gave for the command; nil when it gave nothing.
	Readings proto.Message
}

// Verdict is what Decide found: the facts, and how to answer once they are on disk.
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
	// Pace is the delay after the first try that left the work owed, and the longest.
	Pace() (first, longest time.Duration)
}

// Kind is what makes an actor of one kind: pure functions and one way out.
type Kind[S any] struct {
	Name string
	// Fold is the version of Evolve. Raise it when Evolve makes another state of the same events: older snapshots are then ignored.
	Fold   uint32
	New    func(messages.ActorID) S
	Decide func(S, proto.Message, Stamp) (Verdict, error)
	// Evolve folds an event; sequence is its decision's. It is total: what happened can't be refused.
	Evolve func(s S, event proto.Message, sequence uint64) S
	Owed   func(S) []Effect
	// Perform does owed work and returns the command that reports it, or nil when there is nothing to report (the work stays owed
	// until the state says otherwise, and is tried again after a back-off).
	Perform func(context.Context, Effect) (proto.Message, error)
	View    func(S) proto.Message
	// Observe reads the world for a command before Decide sees it: Stamp.Readings. Readings are advice and may be old when the decision is
	// stored. Optional.
	Observe func(context.Context, proto.Message) proto.Message
	// Accepted hears of each command that Decide didn't refuse, once its events are stored. It is for what must not be in the journal,
	// such as the start of a timer. Optional.
	Accepted func(messages.ActorID, proto.Message)
}
