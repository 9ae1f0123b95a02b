package entity

import (
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Fold is the reading half of a kind with the type of its state erased. It has no ports, so it can't touch anything: replay, time travel and
// explanations fold the journal with it.
type Fold struct {
	Name        string
	Version     uint32 // of Evolve
	Fingerprint string // of the state's schema
	New         func(messages.ActorID) any
	// Evolve takes only a state that New or Evolve of the same Fold made; another one panics.
	Evolve func(state any, event proto.Message, sequence uint64) any
	View   func(state any) proto.Message
	// Begin is an actor before its first event, to be folded on in place.
	Begin func(messages.ActorID) Folding
}

// Folding is one actor on its way through the journal. It keeps the state with its type: a long journal makes no garbage of states, as Evolve of
// a Fold does, whose states outlive the next event.
type Folding interface {
	Apply(messages.Recorded)
	// State is a copy.
	State() any
	View() proto.Message
}

type folding[S any] struct {
	kind  Kind[S]
	state S
}

func (f *folding[S]) State() any          { return f.state }
func (f *folding[S]) View() proto.Message { return f.kind.View(f.state) }
func (f *folding[S]) Apply(r messages.Recorded) {
	for _, e := range r.Events {
		f.state = f.kind.Evolve(f.state, e, r.Sequence)
	}
}

// FoldOf erases the type of a kind's state. It uses New, Evolve and View only: the kind may be made without its ports.
func FoldOf[S any](kind Kind[S]) Fold {
	return Fold{
		Name: kind.Name, Version: kind.Fold, Fingerprint: Fingerprint[S](),
		New: func(id messages.ActorID) any { return kind.New(id) },
		Evolve: func(state any, event proto.Message, sequence uint64) any {
			return kind.Evolve(state.(S), event, sequence)
		},
		View:  func(state any) proto.Message { return kind.View(state.(S)) },
		Begin: func(id messages.ActorID) Folding { return &folding[S]{kind, kind.New(id)} },
	}
}
