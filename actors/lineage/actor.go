package lineage

import (
	"modelops/actors/entity"
	"modelops/messages"
)

// Kind wires lineages to the shell.
func Kind(r Rules, w World) entity.Kind[State] {
	return entity.Kind[State]{Name: messages.KindLineage, Fold: 1, New: New, Decide: r.Decide, Evolve: Evolve, Owed: Owed, View: View, Perform: w.perform}
}
