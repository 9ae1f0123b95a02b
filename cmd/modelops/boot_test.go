package main

import (
	"context"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

type countingDoor struct {
	messages.Door
	asked int
}

func (c *countingDoor) Ask(context.Context, messages.ActorID, proto.Message) (messages.Reply, error) {
	c.asked++
	return messages.Reply{}, nil
}

// TestNobodyIsPlacedBeforeAllAreBack: after a kill -9 a model was placed while the other one of its group still read its journal, and both
// were resident.
func TestNobodyIsPlacedBeforeAllAreBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		behind, awake := &countingDoor{}, make(chan struct{})
		d := patientDoor{behind, awake}
		if _, err := d.Ask(t.Context(), messages.ArbiterActor(), &messages.ClosePlacement{}); err != nil || behind.asked != 1 {
			t.Fatalf("what is no placement waits: %v", err)
		}
		gone, leave := context.WithCancel(t.Context())
		leave()
		if _, err := d.Ask(gone, messages.ArbiterActor(), &messages.RequestPlacement{}); messages.CodeOf(err) != messages.Cancelled {
			t.Fatalf("who left still waits: %v", err)
		}
		go func() { _, _ = d.Ask(t.Context(), messages.ArbiterActor(), &messages.RequestPlacement{}) }()
		synctest.Wait()
		if behind.asked != 1 {
			t.Fatal("a model was placed before all were back")
		}
		close(awake)
		synctest.Wait()
		if behind.asked != 2 {
			t.Fatal("nobody was placed afterwards")
		}
	})
}
