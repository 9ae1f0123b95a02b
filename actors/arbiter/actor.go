package arbiter

import (
	"modelops/actors/entity"
	"modelops/messages"
)

// Kind wires the scheduler to the shell. What it observes of the ledgers is in the stamp, and in the decision's event.
func Kind(rules Rules, ledgers Ledgers, door messages.Door) entity.Kind[State] {
	return entity.Kind[State]{
		Name: messages.KindArbiter, Fold: 1, New: New, Decide: rules.Decide, Evolve: Evolve, Owed: Owed, View: View,
		Perform: hands{door}.perform, Observe: readings{ledgers}.observe,
	}
}
