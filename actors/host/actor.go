package host

import (
	"context"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// Kind wires the host's life to the shell. What is declared is read for the commands that depend on it.
func Kind(w World) entity.Kind[State] {
	return entity.Kind[State]{
		Name: messages.KindHost, Fold: 1, New: New, Decide: Decide, Evolve: Evolve, Owed: Owed, View: View, Perform: hands(w).perform,
		Observe: func(_ context.Context, c proto.Message) proto.Message {
			switch c := c.(type) {
			case *messages.SwapModel:
				seen := proto.CloneOf(c)
				seen.Declared = w.Models.Declared()
				return seen
			case *messages.RollbackSwap:
				seen := proto.CloneOf(c)
				seen.Declared = w.Models.Declared()
				return seen
			}
			return nil
		},
	}
}
