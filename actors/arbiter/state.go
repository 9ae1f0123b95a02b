package arbiter

import (
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Step is how far an open placement is.
type Step string

const (
	Evicting  Step = "evicting" // its victims are on their way out
	Decided   Step = "decided"
	Reserved  Step = "reserved"
	Releasing Step = "releasing" // nobody wants it any more; its lease goes home
)

// Open is a placement on its way.
type Open struct {
	Placement *messages.Placement
	Step      Step
	Gone      []string // victims that have left
}

// relief tells whether only the victims' leaving was wanted: nothing is placed.
func (o Open) relief() bool { return o.Placement.Model == "" }

// leaving are the victims that still hold their memory. Once the last is gone, and when the placement is given up, none leaves for it any
// more: whoever is there then has come back, or stays.
func (o Open) leaving() []string {
	if o.Step != Evicting {
		return nil
	}
	var out []string
	for _, v := range o.Placement.Victims {
		if !slices.Contains(o.Gone, v) {
			out = append(out, v)
		}
	}
	return out
}

// State is what the arbiter has promised and not yet handed over.
type State struct {
	ID      messages.ActorID
	Open    map[string]Open // by placement id
	Decided uint64
	Refused uint64 // by the devices' owners
	// Postponed holds the attempt for which a model was last told to wait: it is journaled once. Who has its place, or was seen not to
	// wait any more, isn't in it.
	Postponed map[string]uint64
	Hints     map[string]Hint // by model
	Moving    *Moving         // nil while no plan is carried out
}

// New is an arbiter without a past.
func New(id messages.ActorID) State {
	return State{ID: id, Open: map[string]Open{}, Postponed: map[string]uint64{}}
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
func Evolve(s State, event proto.Message, sequence uint64) State {
	switch e := event.(messages.ArbiterEvent).(type) {
	case *messages.PlacementDecided:
		o := Open{Placement: e.Placement, Step: Decided}
		if len(e.Placement.Victims) > 0 {
			o.Step = Evicting
		}
		s.Open = with(s.Open, e.Placement.Id, o)
		s.Postponed = without(s.Postponed, e.Placement.Model)
		s.Hints = without(s.Hints, e.Placement.Model)
		s.Moving = movedOn(s.Moving, e.Placement.Model, e.Placement.Victims)
		s.Decided++
	case *messages.PlacementReserved:
		if o, ok := s.Open[e.Id]; ok {
			p := proto.CloneOf(o.Placement)
			p.Epoch = e.Epoch
			s.Open = with(s.Open, e.Id, Open{Placement: p, Step: Reserved})
		}
	case *messages.PlacementRefused:
		s.Open = without(s.Open, e.Id)
		s.Refused++
	case *messages.PlacementClosed:
		s.Open = without(s.Open, e.Id)
	case *messages.PlacementAbandoned:
		if o, ok := s.Open[e.Id]; ok {
			s.Open = with(s.Open, e.Id, Open{Placement: o.Placement, Step: Releasing})
		}
	case *messages.PlacementPostponed:
		for _, model := range e.Over {
			s.Postponed = without(s.Postponed, model)
		}
		s.Postponed = with(s.Postponed, e.Model, e.Attempt)
	case *messages.PlacementHinted:
		s.Hints = hinted(s.Hints, e)
	case *messages.DefragDecided:
		s.Moving = &Moving{Plan: e}
	case *messages.MoveLeft:
		if m := s.Moving.now(); m != nil && s.Moving.Plan.Id == e.Id && m.Model == e.Model {
			s.Moving = &Moving{Plan: s.Moving.Plan, Next: s.Moving.Next, Left: true}
		}
	case *messages.DefragEnded:
		if s.Moving != nil && s.Moving.Plan.Id == e.Id {
			s.Moving = nil
		}
	case *messages.VictimEvicted:
		s.Open = evicted(s.Open, e)
	case *messages.PressureRelieved:
		id := fmt.Sprintf("relief/%d", sequence)
		p := &messages.Placement{Id: id, Gpu: e.Gpu}
		for _, v := range e.Victims {
			p.Victims = append(p.Victims, v.Model)
		}
		s.Open = with(s.Open, id, Open{Placement: p, Step: Evicting})
		s.Moving = movedOn(s.Moving, "", p.Victims)
	}
	return s
}

// evicted notes that a victim is gone; the last one opens the way to the reservation.
func evicted(open map[string]Open, e *messages.VictimEvicted) map[string]Open {
	o, ok := open[e.Id]
	if !ok {
		return open
	}
	o.Gone = append(slices.Clone(o.Gone), e.Model)
	if o.Step == Evicting && len(o.leaving()) == 0 {
		o.Step = Decided
	}
	if o.Step == Decided && o.relief() {
		return without(open, e.Id)
	}
	return with(open, e.Id, o)
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
	if _, ok := m[key]; !ok {
		return m
	}
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
	for _, model := range slices.Sorted(maps.Keys(s.Hints)) {
		h := s.Hints[model]
		v.Hints = append(v.Hints, &messages.HintReply{Model: model, Gpu: h.Gpu, Bytes: h.Bytes, UntilMs: h.UntilMS, Owner: h.Owner})
	}
	if m := s.Moving; m != nil {
		v.Defrag = &messages.DefragPlan{Id: m.Plan.Id, Moves: m.Plan.Moves[m.Next:], Gpu: m.Plan.Gpu, NeedBytes: m.Plan.NeedBytes}
	}
	return v
}
