package simulator

import (
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// book is one actor's part of the journal: a snapshot, and the decisions after it.
type book struct {
	snapshot  []byte
	decisions []messages.Recorded
	last      uint64
}

// write seals a decision as the journal does. A conflict is a bug of the simulator: it has one writer.
func (w *World) write(id messages.ActorID, b *book, expected uint64, events []proto.Message) uint64 {
	if b.last != expected {
		panic(fmt.Sprintf("%s expected sequence %d, its last is %d", id, expected, b.last))
	}
	d, err := messages.Seal(events)
	if err != nil {
		panic(err)
	}
	opened, err := d.Open()
	if err != nil {
		panic(err)
	}
	w.stored(id, events)
	w.sequence++
	b.last = w.sequence
	b.decisions = append(b.decisions, messages.Recorded{Actor: id, Sequence: w.sequence, Expected: expected, At: w.now(), Events: opened})
	return w.sequence
}

// read folds what a book holds.
func read[S any](kind entity.Kind[S], id messages.ActorID, b *book) (s S, err error) {
	s = kind.New(id)
	if b.snapshot != nil {
		var from S
		if err := json.Unmarshal(b.snapshot, &from); err != nil {
			return s, fmt.Errorf("the snapshot of %s can't be read: %w", id, err)
		}
		s = from
	}
	return entity.Replay(kind, s, b.decisions), nil
}
