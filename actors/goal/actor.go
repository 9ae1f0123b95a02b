package goal

import (
	"time"

	"modelops/actors/entity"
	"modelops/messages"
)

// World is what a goal actor touches.
type World struct {
	Jobs     Jobs
	Recipes  Recipes
	Versions Versions
	Now      func() time.Time
}

// Kind wires goals to the shell.
func Kind(w World) entity.Kind[State] {
	return entity.Kind[State]{Name: messages.KindGoal, Fold: 1, New: New, Decide: Decide, Evolve: Evolve, Owed: Owed, View: View, Perform: ports{w}.perform}
}
