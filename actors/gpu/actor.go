package gpu

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// Kind wires the ledger to the shell.
func Kind() entity.Kind[State] {
	r := &renewals{at: map[string]*time.Time{}}
	return entity.Kind[State]{
		Name: messages.KindGPU, Fold: 1, New: New, Decide: Decide, Evolve: Evolve, Owed: Owed, View: View,
		Perform: r.perform,
		Prepare: func(_ context.Context, c proto.Message) proto.Message {
			if renew, ok := c.(*messages.RenewLease); ok {
				r.note(renew.Lease)
			}
			return c
		},
	}
}
