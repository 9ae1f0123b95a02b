package arbiter

import (
	"context"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// Kind wires the scheduler to the shell. Ledgers and allocations come as readings with the stamp of each decision.
func Kind(rules Rules, world World, door messages.Door) entity.Kind[State] {
	return entity.Kind[State]{
		Name: messages.KindArbiter, Fold: 6, New: New, Decide: rules.Decide, Evolve: Evolve, Owed: Owed, View: View, Perform: ports{door}.perform,
		Observe: func(_ context.Context, c proto.Message) proto.Message {
			switch c.(type) {
			case *messages.RequestPlacement, *messages.RelievePressure, *messages.HintPlacement, *messages.PlanDefrag, *messages.CheckInversion:
				seen := &messages.SchedulerReadings{Ledgers: world.Ledgers(), Allocations: world.Allocations()}
				if c, ok := world.(Cluster); ok {
					seen.Hosts, seen.Seat = c.Hosts(), c.Seat()
				}
				return seen
			}
			return nil
		},
	}
}
