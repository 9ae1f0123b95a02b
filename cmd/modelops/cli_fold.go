package main

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
	f.state = entity.Fold(f.kind, f.state, []messages.Recorded{r})
	f.last = r.Sequence
}

func (f *fold[S]) sequence() uint64           { return f.last }
func (f *fold[S]) stateJSON() ([]byte, error) { return json.Marshal(f.state) }
func (f *fold[S]) view() proto.Message        { return f.kind.View(f.state) }

func foldOf[S any](kind entity.Kind[S], id messages.ActorID) folded {
	return &fold[S]{kind: kind, state: kind.New(id)}
}

// newFold begins an entity without a past. Only the pure functions of its kind are used, so the ports may be missing.
func newFold(id messages.ActorID) (folded, error) {
	switch id.Kind {
	case messages.KindHost:
		return foldOf(host.Kind(), id), nil
	case messages.KindGPU:
		return foldOf(gpu.Kind(), id), nil
	case messages.KindModel:
		return foldOf(model.Kind(model.Rules{}, nil, nil, nil), id), nil
	case messages.KindArbiter:
		return foldOf(arbiter.Kind(nil, nil), id), nil
	}
	return nil, messages.Errorf(messages.InvalidArgument, id.String(), "a %s keeps no journal, so it has no past", id.Kind)
}
