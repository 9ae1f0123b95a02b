package entity

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Journal is what a shell needs of the journal.
type Journal interface {
	// Append writes one decision. It fails with Conflict when expected isn't the actor's last sequence. After an error without the cause
	// messages.ErrNotStored the decision may be stored.
	Append(ctx context.Context, a Append) (sequence uint64, err error)
	// Replay calls fn for each of the actor's decisions after a sequence, in order.
	Replay(ctx context.Context, actor messages.ActorID, after uint64, fn func(messages.Recorded) error) error
	// LoadSnapshot finds the latest snapshot; ok is false when there is none.
	LoadSnapshot(ctx context.Context, actor messages.ActorID) (s Snapshot, ok bool, err error)
	// SaveSnapshot stores a cache of the state. Its failure costs time only.
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

// Clock tells the time.
type Clock interface {
	Now() time.Time
}

// Waiting is an Observer that is also told of an actor that waits for its journal for longer than a moment: why, and nil when the wait is over.
type Waiting interface {
	Waits(actor messages.ActorID, why *messages.Error)
}

// Observer is told what a shell does, for metrics and views. Its methods must not block.
type Observer interface {
	// StateChanged is called after recovery and after each decision, in the order of the actor's sequence.
	StateChanged(actor messages.ActorID, sequence uint64, view proto.Message)
	// Recovered is called when an incarnation has read its journal.
	Recovered(actor messages.ActorID, decisions int, took time.Duration)
}
