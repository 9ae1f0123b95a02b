package gpu

import (
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// Kind wires the ledger to the shell. Through the door it asks the holders of its leases.
func Kind(door messages.Door) entity.Kind[State] {
	r := &renewals{at: map[timer]*time.Time{}}
	return entity.Kind[State]{
		Name: messages.KindGPU, Fold: 1, New: New, Decide: Decide, Evolve: Evolve, Owed: Owed, View: View,
		Perform: ports{r, door}.perform,
		Accepted: func(id messages.ActorID, c proto.Message) {
			if renew, ok := c.(*messages.RenewLease); ok {
				r.note(timer{id, renew.Lease})
			}
		},
	}
}
