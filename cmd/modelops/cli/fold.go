package cli

import (
	"encoding/json"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/actors/kinds"
	"modelops/messages"
)

// folded is an actor whose state is folded from the journal.
type folded struct {
	entity.Folding
	last uint64 // sequence of its last decision; 0 = none
}

func (f *folded) apply(r messages.Recorded) {
	f.Apply(r)
	f.last = r.Sequence
}

func (f *folded) sequence() uint64           { return f.last }
func (f *folded) stateJSON() ([]byte, error) { return json.Marshal(f.State()) }
func (f *folded) view() proto.Message        { return f.View() }

// newFold is an actor before its first event. messages.InvalidArgument: its kind keeps no journal.
func newFold(id messages.ActorID) (*folded, error) {
	kind, err := kinds.FoldOf(id)
	if err != nil {
		return nil, err
	}
	return &folded{Folding: kind.Begin(id)}, nil
}
