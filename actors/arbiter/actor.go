package arbiter

import (
	"modelops/actors/entity"
	"modelops/messages"
)

// Kind wires the scheduler to the shell. What it sees of the ledgers is added to the question, so that it is in the decision's event.
func Kind(rules Rules, ledgers Ledgers, door messages.Door) entity.Kind[State] {
	return entity.Kind[State]{
		Name: messages.KindArbiter, Fold: 1, New: New, Decide: rules.Decide, Evolve: Evolve, Owed: Owed, View: View,
		Perform: hands{door}.perform, Prepare: eyes{ledgers}.look,
	}
}
