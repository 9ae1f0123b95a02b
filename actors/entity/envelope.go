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

// performed comes back from a goroutine that did owed work.
type performed struct {
	try     Try
	command proto.Message
	err     error
}

// again tells that the pause after a try is over.
type again struct{ try Try }
