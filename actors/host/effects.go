package host

import (
	"context"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
)

// Owed: a host's life owes nothing to the world; what runs on it is owed by the actors of the other kinds.
func Owed(State) []entity.Effect { return nil }

func perform(context.Context, entity.Effect) (proto.Message, error) {
	panic("a host owes nothing")
}
