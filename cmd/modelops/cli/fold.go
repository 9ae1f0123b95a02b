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
	kind  entity.Fold
	state any
	last  uint64 // sequence of its last decision; 0 = none
}

func (f *folded) apply(r messages.Recorded) {
	f.state, f.last = f.kind.Apply(f.state, r), r.Sequence
}

func (f *folded) sequence() uint64           { return f.last }
func (f *folded) stateJSON() ([]byte, error) { return json.Marshal(f.state) }
func (f *folded) view() proto.Message        { return f.kind.View(f.state) }

// newFold is an actor before its first event. messages.InvalidArgument: its kind keeps no journal.
func newFold(id messages.ActorID) (*folded, error) {
	kind, err := kinds.FoldOf(id)
	if err != nil {
		return nil, err
	}
	return &folded{kind: kind, state: kind.New(id)}, nil
}
