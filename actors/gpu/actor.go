package gpu

import (
	"time"

	"modelops/actors/entity"
	"modelops/messages"
)

// Kind wires the ledger to the shell. Through the door it asks the holders of its leases; the clock times renewals.
func Kind(door messages.Door, now func() time.Time) entity.Kind[State] {
	r := &renewals{now: now, at: map[timer]time.Time{}, looked: map[timer]time.Time{}, checked: map[timer]time.Time{}}
	return entity.Kind[State]{
		Name: messages.KindGPU, Fold: 5, New: New, Decide: Decide, Evolve: Evolve, Owed: Owed, View: View,
		Perform: ports{r, door}.perform, Accepted: r.note, Observe: r.observe,
	}
}
