package entity

import (
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Envelope is a command on its way to a shell's mailbox.
type Envelope struct {
	Command proto.Message
	Meta    messages.Meta
}

// Result is a shell's answer to an Envelope.
type Result struct {
	Reply messages.Reply
	Err   *messages.Error
}

// incarnation tells one life of an actor from the next, by its address: numbers would start again when an actor that gave up is revived.
type incarnation struct{ _ byte }

// performed comes back from a goroutine that did owed work.
type performed struct {
	incarnation *incarnation
	key         string
	try         uint64
	command     proto.Message
	err         error
}

// again tells that the back-off of owed work is over.
type again struct {
	incarnation *incarnation
	key         string
	try         uint64
}
