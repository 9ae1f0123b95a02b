package host

import (
	"modelops/actors/entity"
	"modelops/messages"
)

// Kind wires the host's life to the shell.
func Kind() entity.Kind[State] {
	return entity.Kind[State]{
		Name: messages.KindHost, New: New, Decide: Decide, Evolve: Evolve, Owed: Owed, View: View, Perform: perform,
	}
}
