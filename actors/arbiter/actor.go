package arbiter

import (
	"context"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// Kind wires the scheduler to the shell. What it sees of the ledgers is added to the question, so that it is in the decision's event.
func Kind(ledgers Ledgers, door messages.Door) entity.Kind[State] {
	return entity.Kind[State]{
		Name: messages.KindArbiter, New: New, Decide: Decide, Evolve: Evolve, Owed: Owed, View: View,
		Perform: hands{door}.perform,
		Prepare: func(_ context.Context, c proto.Message) proto.Message {
			if p, ok := c.(*messages.PlaceModel); ok && len(p.Ledgers) == 0 {
				seen := proto.CloneOf(p)
				seen.Ledgers = ledgers.Ledgers()
				return seen
			}
			return c
		},
	}
}
