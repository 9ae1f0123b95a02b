package arbiter

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Step is how far an open placement is.
type Step string

const (
	Decided   Step = "decided"
	Reserved  Step = "reserved"
	Releasing Step = "releasing" // nobody wants it any more; its lease goes home
)

// Open is a placement on its way.
type Open struct {
	Placement *messages.Placement
	Step      Step
}

// State is what the arbiter has promised and not yet handed over.
type State struct {
	ID      messages.ActorID
	Open    map[string]Open // by placement id
	Decided uint64
	Refused uint64 // by the devices' owners
}

// New is an arbiter without a past.
func New(id messages.ActorID) State {
	return State{ID: id, Open: map[string]Open{}}
}

// openFor finds the open placement of one attempt of a model.
func (s State) openFor(model string, attempt uint64) (Open, bool) {
	for _, o := range s.Open {
		if o.Placement.Model == model && o.Placement.Attempt == attempt {
			return o, true
		}
	}
	return Open{}, false
}

// Evolve folds an event.
func Evolve(s State, event proto.Message, _ uint64) State {
	switch e := event.(messages.ArbiterEvent).(type) {
	case *messages.PlacementDecided:
		s.Open = with(s.Open, e.Placement.Id, Open{e.Placement, Decided})
		s.Decided++
	case *messages.PlacementReserved:
		if o, ok := s.Open[e.Id]; ok {
			p := proto.CloneOf(o.Placement)
			p.Epoch = e.Epoch
			s.Open = with(s.Open, e.Id, Open{p, Reserved})
		}
	case *messages.PlacementRefused:
		s.Open = without(s.Open, e.Id)
		s.Refused++
	case *messages.PlacementClosed:
		s.Open = without(s.Open, e.Id)
	case *messages.PlacementAbandoned:
		if o, ok := s.Open[e.Id]; ok {
			s.Open = with(s.Open, e.Id, Open{o.Placement, Releasing})
		}
	}
	return s
}

func with[V any](m map[string]V, key string, v V) map[string]V {
	out := maps.Clone(m)
	if out == nil {
		out = map[string]V{}
	}
	out[key] = v
	return out
}

func without[V any](m map[string]V, key string) map[string]V {
	out := maps.Clone(m)
	delete(out, key)
	return out
}

// View is the arbiter as others see it.
func View(s State) proto.Message {
	v := &messages.ArbiterView{Decided: s.Decided, Refused: s.Refused}
	for _, id := range slices.Sorted(maps.Keys(s.Open)) {
		v.Open = append(v.Open, s.Open[id].Placement)
	}
	return v
}
