package entity_test

import (
	"context"
	"testing"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

// Decide gets what the kind observes in the stamp, and the command as it was sent.
func TestReadingsAreInTheStamp(t *testing.T) {
	kind, observed := toyKind(idle), &messages.GpuView{Id: "gpu/a"}
	kind.Observe = func(_ context.Context, c proto.Message) proto.Message {
		if _, ok := c.(*messages.EnsureModel); ok {
			return observed
		}
		return nil
	}
	var stamps []entity.Stamp
	var decided []proto.Message
	right := kind.Decide
	kind.Decide = func(s toy, c proto.Message, at entity.Stamp) (entity.Verdict, error) {
		stamps, decided = append(stamps, at), append(decided, c)
		return right(s, c, at)
	}
	playKind(t, kind, options{}, func(s *stage) {
		wanted := &messages.EnsureModel{Reason: "test"}
		s.must(wanted)
		s.must(&messages.UnloadModel{})
		if stamps[0].Readings != proto.Message(observed) || stamps[1].Readings != nil {
			t.Errorf("the readings are %v and %v", stamps[0].Readings, stamps[1].Readings)
		}
		if decided[0] != proto.Message(wanted) {
			t.Errorf("decided was %v", decided[0])
		}
	})
}

// Accepted is called when a command's events are stored, and never for a refused command.
func TestAccepted(t *testing.T) {
	kind, j := toyKind(idle), &entitytest.Journal{}
	var heard []string
	kind.Accepted = func(id messages.ActorID, c proto.Message) {
		if n := len(j.Of(id)); n != 1 {
			t.Errorf("heard of %T with %d decisions in the journal", c, n)
		}
		heard = append(heard, id.String()+" "+string(c.ProtoReflect().Descriptor().Name()))
	}
	playKind(t, kind, options{journal: j}, func(s *stage) {
		s.must(&messages.EnsureModel{})
		s.refused(&messages.StopHost{}, messages.FailedPrecondition)
		s.must(&messages.RetryLoad{Attempt: 99}) // no event
		if len(heard) != 2 || heard[0] != "model/main_pc/toy EnsureModel" || heard[1] != "model/main_pc/toy RetryLoad" {
			t.Errorf("heard %v", heard)
		}
	})
}
