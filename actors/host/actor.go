package host

import (
	"context"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// Kind wires the host to the shell. The declared models come as readings with the stamp of the decisions that depend on them.
func Kind(w World) entity.Kind[State] {
	return entity.Kind[State]{
		Name: messages.KindHost, Fold: 2, New: New, Decide: Decide, Evolve: Evolve, Owed: Owed, View: View, Perform: ports(w).perform,
		Observe: func(_ context.Context, c proto.Message) proto.Message {
			switch c.(type) {
			case *messages.SwapModel, *messages.RollbackSwap, *messages.ReviewRoutes:
				return &messages.DeclaredModels{Models: w.Models.Declared()}
			}
			return nil
		},
	}
}
