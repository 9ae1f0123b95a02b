package main

import (
	"context"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// patientDoor keeps placements back until the host is awake. An actor begins to do what it owes as soon as it has read its journal, while
// others still read theirs: a placement that is decided then doesn't see who is resident, and puts a model beside one that shares its
// group or counts one load too few.
type patientDoor struct {
	messages.Door
	awake <-chan struct{}
}

func (p patientDoor) Ask(ctx context.Context, to messages.ActorID, command proto.Message) (messages.Reply, error) {
	if _, places := command.(*messages.PlaceModel); places {
		select {
		case <-p.awake:
		case <-ctx.Done():
			return messages.Reply{}, messages.AsError(context.Cause(ctx))
		}
	}
	return p.Door.Ask(ctx, to, command)
}

// isAwake tells whether all models of the journal and the configuration are there.
func (d *daemon) isAwake() bool {
	select {
	case <-d.awake:
		return true
	default:
		return false
	}
}
