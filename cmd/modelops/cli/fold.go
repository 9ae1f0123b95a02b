package cli

import (
	"encoding/json"

	"google.golang.org/protobuf/proto"

	"modelops/actors/arbiter"
	"modelops/actors/entity"
	"modelops/actors/gpu"
	"modelops/actors/host"
	"modelops/actors/model"
	"modelops/messages"
)

// folded is one entity as its journal tells it.
type folded interface {
	apply(r messages.Recorded)
	sequence() uint64
	stateJSON() ([]byte, error)
	view() proto.Message
}

type fold[S any] struct {
	kind  entity.Kind[S]
	state S
	last  uint64
}

func (f *fold[S]) apply(r messages.Recorded) {
	f.state = entity.Replay(f.kind, f.state, []messages.Recorded{r})
	f.last = r.Sequence
}

func (f *fold[S]) sequence() uint64           { return f.last }
func (f *fold[S]) stateJSON() ([]byte, error) { return json.Marshal(f.state) }
func (f *fold[S]) view() proto.Message        { return f.kind.View(f.state) }

// foldOf takes the pure half of a kind: what has no hands can't touch anything.
func foldOf[S any](id messages.ActorID, empty func(messages.ActorID) S, evolve func(S, proto.Message, uint64) S, view func(S) proto.Message) folded {
	return &fold[S]{kind: entity.Kind[S]{Name: id.Kind, New: empty, Evolve: evolve, View: view}, state: empty(id)}
}

// newFold begins an entity without a past.
func newFold(id messages.ActorID) (folded, error) {
	switch id.Kind {
	case messages.KindHost:
		return foldOf(id, host.New, host.Evolve, host.View), nil
	case messages.KindGPU:
		return foldOf(id, gpu.New, gpu.Evolve, gpu.View), nil
	case messages.KindModel:
		return foldOf(id, model.New, model.Evolve, model.View), nil
	case messages.KindArbiter:
		return foldOf(id, arbiter.New, arbiter.Evolve, arbiter.View), nil
	}
	return nil, messages.Errorf(messages.InvalidArgument, id.String(), "a %s keeps no journal, so it has no past", id.Kind)
}
