package entity

import (
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Unknown refuses a command that the kind doesn't have.
func Unknown(id messages.ActorID, command proto.Message) *messages.Error {
	return messages.Errorf(messages.InvalidArgument, id.String(), "actors of kind %s take no %s", id.Kind, command.ProtoReflect().Descriptor().Name()).
		WithHint("modelops send --help lists the commands of each kind")
}
