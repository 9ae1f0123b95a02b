package model

import (
	"modelops/actors/entity"
	"modelops/messages"
)

// Kind wires residency to the shell.
func Kind(rules Rules, runtime Runtime, gate Gate, door messages.Door) entity.Kind[State] {
	return entity.Kind[State]{
		Name: messages.KindModel, New: New, Decide: rules.Decide, Evolve: Evolve, Owed: Owed, View: View,
		Perform: hands{runtime, gate, door}.perform,
	}
}
