package simulator

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// book is one actor's part of the journal: a snapshot, and the decisions after it.
type book struct {
	snapshot  entity.Snapshot
	decisions []messages.Recorded
	last      uint64
}

// Append implements entity.World. The coordinator or the actor may crash on both sides of it: on the second, the acknowledgement is lost.
func (n *node[S]) Append(a entity.Append) (uint64, error) {
	f := n.w.o.Faults
	if n.w.mishap(f.ActorCrash) {
		return 0, n.crash("before its decision on %s was stored")
	}
	n.w.mayCrash()
	sequence := n.w.write(n.id, &n.book, a.Expected, a.Events)
	if n.w.o.Stored != nil {
		n.w.o.Stored(a, sequence)
	}
	n.w.say("%s takes %s: %s", n.id, name(n.doing), told(a.Events))
	n.w.mayCrash()
	if n.w.mishap(f.ActorCrash) {
		return 0, n.crash("after its decision on %s was stored")
	}
	return sequence, nil
}

// crash is the error of an append after which the decision may be stored or not.
func (n *node[S]) crash(when string) error {
	n.w.say("%s crashes "+when, n.id, name(n.doing))
	return messages.NewError(messages.JournalUnavailable, n.id.String(), "it is unknown whether the decision is stored")
}

// Replay implements entity.World.
func (n *node[S]) Replay(after uint64, fn func(messages.Recorded) error) error {
	for _, r := range n.book.decisions {
		if r.Sequence > after {
			if err := fn(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// LoadSnapshot implements entity.World.
func (n *node[S]) LoadSnapshot() (entity.Snapshot, bool, error) {
	return n.book.snapshot, n.book.snapshot.State != nil, nil
}

// SaveSnapshot implements entity.World. The book forgets the decisions that are in it.
func (n *node[S]) SaveSnapshot(s entity.Snapshot) error {
	n.book.snapshot, n.book.decisions = s, nil
	return nil
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
	w.sequence++
	w.stored(id, events)
	b.last = w.sequence
	b.decisions = append(b.decisions, messages.Recorded{Actor: id, Sequence: w.sequence, Expected: expected, At: w.now(), Events: opened})
	return w.sequence
}
