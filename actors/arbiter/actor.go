package arbiter

import (
	"cmp"
	"context"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// Kind wires the scheduler to the shell. What it sees of the ledgers is added to the question, so that it is in the decision's event.
func Kind(rules Rules, ledgers Ledgers, door messages.Door) entity.Kind[State] {
	return entity.Kind[State]{
		Name: messages.KindArbiter, New: New, Decide: rules.Decide, Evolve: Evolve, Owed: Owed, View: View,
		Perform: hands{door}.perform,
		Prepare: func(ctx context.Context, c proto.Message) proto.Message {
			switch c := c.(type) {
			case *messages.PlaceModel:
				seen := proto.CloneOf(c)
				seen.Ledgers, seen.Residents = ledgers.Ledgers(), ledgers.Residents()
				return seen
			case *messages.HintModel:
				seen := proto.CloneOf(c)
				seen.Ledgers, seen.Residents = ledgers.Ledgers(), ledgers.Residents()
				known, kinds := ledgers.Known(ctx, c.Model)
				seen.Bytes, seen.Kinds = cmp.Or(c.Bytes, known), kinds
				return seen
			case *messages.PlanDefrag:
				seen := proto.CloneOf(c)
				seen.Ledgers, seen.Residents = ledgers.Ledgers(), ledgers.Residents()
				if c.Model != "" {
					known, kinds := ledgers.Known(ctx, c.Model)
					seen.NeedBytes, seen.Kinds = cmp.Or(c.NeedBytes, known), kinds
				}
				return seen
			case *messages.RelievePressure:
				seen := proto.CloneOf(c)
				seen.Ledgers, seen.Residents = ledgers.Ledgers(), ledgers.Residents()
				return seen
			}
			return c
		},
	}
}
