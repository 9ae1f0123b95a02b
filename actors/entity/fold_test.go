package entity_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// A fold without a type reads the journal as the kind itself does.
func TestFoldOf(t *testing.T) {
	kind := toyKind(idle)
	kind.Fold = 3
	fold := entity.FoldOf(kind)
	if fold.Name != kind.Name || fold.Version != 3 || fold.Fingerprint != entity.Fingerprint[toy]() {
		t.Errorf("the fold is %s of version %d with %s", fold.Name, fold.Version, fold.Fingerprint)
	}
	decisions := []messages.Recorded{
		{Sequence: 4, Events: []proto.Message{&messages.ModelWanted{Reason: "one", Attempt: 1}, &messages.ModelDrained{Attempt: 1}}},
		{Sequence: 9, Events: []proto.Message{&messages.ModelWanted{Reason: "two", Attempt: 2}}},
	}
	erased, inPlace := fold.New(toyID), fold.Begin(toyID)
	for _, r := range decisions {
		for _, e := range r.Events {
			erased = fold.Evolve(erased, e, r.Sequence)
		}
		inPlace.Apply(r)
	}
	typed := replayed(kind, decisions)
	if erased.(toy) != typed || typed.Attempt != 2 || typed.Done != 1 {
		t.Errorf("the fold gives %+v, the kind %+v", erased, typed)
	}
	if inPlace.State() != any(typed) || !proto.Equal(inPlace.View(), kind.View(typed)) {
		t.Errorf("folded in place it is %+v, the kind %+v", inPlace.State(), typed)
	}
	if !proto.Equal(fold.View(erased), kind.View(typed)) {
		t.Errorf("the views are %v and %v", fold.View(erased), kind.View(typed))
	}
}

// replayed is what recorded decisions come to.
func replayed[S any](kind entity.Kind[S], decisions []messages.Recorded) S {
	s := kind.New(toyID)
	for _, r := range decisions {
		for _, e := range r.Events {
			s = kind.Evolve(s, e, r.Sequence)
		}
	}
	return s
}
