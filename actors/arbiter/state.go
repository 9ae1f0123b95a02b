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
	Releasing Step = "releasing" // given up; its leases are being released
)

// Open is a placement on its way.
type Open struct {
	Placement *messages.Placement
	Step      Step
	Gone      []string // victims that have left
	// Moves are the victims that are loaded on another host once they have left.
	Moves []*messages.Move `json:",omitempty"`
	// Back are the victims that come back after the job for which they leave.
	Back []string `json:",omitempty"`
	// SinceMS is when jobs were asked to leave for it; 0 = none was.
	SinceMS int64 `json:",omitempty"`
}

// relief tells whether only victims leave and nothing is placed.
func (o Open) relief() bool { return o.Placement.Holder == "" }

// leaving are the victims that still hold their memory. Once the last is gone, and when the placement is given up, none leaves for it any
// more: a victim that holds memory then has been placed again, or stays.
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

// Wait is a claim that has to wait.
type Wait struct {
	Claim string
	Hosts []string // where it could be placed; empty = not known
	// Pinned tells that it waits for pins to end: others don't wait for it.
	Pinned bool `json:",omitempty"`
	// Cause is why a job waits, as a word, and AtMS when that was journaled.
	Cause string `json:",omitempty"`
	AtMS  int64  `json:",omitempty"`
}

// State is what the arbiter has promised and not yet handed over.
type State struct {
	ID      messages.ActorID
	Open    map[string]Open // by placement id
	Decided uint64
	Refused uint64 // by the devices' owners
	// Postponed holds the claim for which a holder was last told to wait: it is journaled once. A holder that got its place, or no longer waits
	// by the readings, isn't in it.
	Postponed map[string]Wait
	Hints     map[string]Hint // by holder
	Moving    *Moving         // nil while no plan is carried out
	// Moved is when models last moved to another host, in ms since 1970, by name.
	Moved map[string]int64 `json:",omitempty"`
	// Setbacks are the placements that came to nothing lately, by holder.
	Setbacks map[string]Setback `json:",omitempty"`
	// Displaced are the jobs that had to leave lately, and Away the models that come back after a job, by the placement for which they left.
	Displaced map[string]Displaced `json:",omitempty"`
	Away      map[string]Away      `json:",omitempty"`
	// Inversions are those that last, by the holder that waits.
	Inversions map[string]*messages.Inversion `json:",omitempty"`
	// Host and Epoch are of the last take-over; empty and 0 when there was none, as on a host that was always alone.
	Host  string `json:",omitempty"`
	Epoch uint64 `json:",omitempty"`
}

// New is an arbiter without a past.
func New(id messages.ActorID) State {
	return State{ID: id, Open: map[string]Open{}, Postponed: map[string]Wait{}}
}

// openFor finds the open placement of a claim; of any claim, when the holder's host was still to be chosen: a name has one placement at a
// time. One on a host that can't be reached keeps no name waiting: it may stay open for as long as that host is away.
func (s State) openFor(holder, claim string, q question) (Open, bool) {
	if len(s.Open) == 0 { // sorting nothing allocates, and this is the hot part of a decision
		return Open{}, false
	}
	for _, id := range slices.Sorted(maps.Keys(s.Open)) {
		p := s.Open[id].Placement
		if p.Holder == holder && p.Claim == claim || anyHost(holder) && same(p.Holder, holder) && !q.cutOff(p.Holder) {
			return s.Open[id], true
		}
	}
	return Open{}, false
}

// holds tells whether a lease belongs to an open placement.
func (s State) holds(lease string) bool {
	for _, o := range s.Open {
		if slices.ContainsFunc(o.Placement.Shares, func(x *messages.Share) bool { return x.Lease == lease }) {
			return true
		}
	}
	return false
}

// Evolve folds an event.
func Evolve(s State, event proto.Message, sequence uint64) State {
	switch e := event.(messages.ArbiterEvent).(type) {
	case *messages.PlacementDecided:
		o := Open{Placement: e.Placement, Step: Decided, Moves: e.Moves, Back: e.Back}
		if len(e.Placement.Victims) > 0 {
			o.Step = Evicting
		}
		if len(e.Jobs) > 0 {
			o.SinceMS = e.At.AsTime().UnixMilli()
		}
		s.Open = with(s.Open, e.Placement.Id, o)
		s.Postponed = withoutHolder(s.Postponed, e.Placement.Holder)
		s.Hints = withoutHolder(s.Hints, e.Placement.Holder)
		s.Moving = movedOn(s.Moving, e.Placement.Holder, e.Placement.Victims)
		s.Moved = s.moved(e.Moves, e.At)
		s.Displaced = s.displaced(e)
		s.Decided++
	case *messages.PlacementReserved:
		if o, ok := s.Open[e.Id]; ok {
			p := proto.CloneOf(o.Placement)
			for i, epoch := range e.Epochs {
				p.Shares[i].Epoch = epoch
			}
			s.Open = with(s.Open, e.Id, Open{Placement: p, Step: Reserved, Back: o.Back})
		}
	case *messages.PlacementRefused:
		if o, ok := s.Open[e.Id]; ok {
			s.Setbacks, s.Away = s.setback(o, e.Error.GetMessage(), e.At), s.away(o, false)
		}
		s.Open = without(s.Open, e.Id)
		s.Refused++
	case *messages.PlacementClosed:
		if o, ok := s.Open[e.Id]; ok {
			if o.Step == Reserved {
				s.Setbacks = s.placedWell(o.Placement)
			}
			s.Away = s.away(o, o.Step == Reserved)
		}
		s.Open = without(s.Open, e.Id)
	case *messages.PlacementAbandoned:
		if o, ok := s.Open[e.Id]; ok {
			s.Setbacks = s.setback(o, e.Reason, e.At)
			s.Open = with(s.Open, e.Id, Open{Placement: o.Placement, Step: Releasing, Back: o.Back})
		}
	case *messages.PlacementPostponed:
		for _, holder := range e.Over {
			s.Postponed = without(s.Postponed, holder)
		}
		s.Postponed = with(s.Postponed, e.Holder, waitOf(e))
	case *messages.PlacementHinted:
		s.Hints = hinted(s.Hints, e)
	case *messages.DefragDecided:
		s.Moving = &Moving{Plan: e}
	case *messages.MoveLeft:
		if m := s.Moving.now(); m != nil && s.Moving.Plan.Id == e.Id && m.Holder == e.Holder {
			s.Moving = &Moving{Plan: s.Moving.Plan, Next: s.Moving.Next, Left: true}
		}
	case *messages.DefragEnded:
		if s.Moving != nil && s.Moving.Plan.Id == e.Id {
			s.Moving = nil
		}
	case *messages.InversionFound, *messages.InversionEnded:
		s.Inversions = evolveInversion(s.Inversions, e)
	case *messages.DisplacedReinstated:
		s.Away = without(s.Away, e.Id)
	case *messages.ArbiterTookOver:
		s.Host, s.Epoch = e.Host, e.Epoch
	case *messages.VictimPreempted:
		s.Open = evicted(s.Open, e)
	case *messages.PressureRelieved:
		id := fmt.Sprintf("relief/%d", sequence)
		p := &messages.Placement{Id: id, Shares: []*messages.Share{{Gpu: e.Gpu}}, Arbiter: s.Host, ArbiterEpoch: s.Epoch}
		for _, v := range e.Victims {
			p.Victims = append(p.Victims, v.Holder)
		}
		s.Open = with(s.Open, id, Open{Placement: p, Step: Evicting})
		s.Moving = movedOn(s.Moving, "", p.Victims)
	}
	return s
}

func waitOf(e *messages.PlacementPostponed) Wait {
	w := Wait{Claim: e.Claim, Hosts: e.Hosts, Pinned: e.Pinned, Cause: e.Cause}
	if e.Cause != "" {
		w.AtMS = e.At.AsTime().UnixMilli()
	}
	return w
}

// evicted notes that a victim is gone; the last one opens the way to the reservation.
func evicted(open map[string]Open, e *messages.VictimPreempted) map[string]Open {
	o, ok := open[e.Id]
	if !ok {
		return open
	}
	o.Gone = append(slices.Clone(o.Gone), e.Holder)
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

// withoutHolder drops what is kept under a holder's name, and under its name with any host.
func withoutHolder[V any](m map[string]V, holder string) map[string]V {
	kind, _, name := parts(holder)
	return without(without(m, holder), kind+"/"+messages.AnyHost+"/"+name)
}

// View is what is shown of the arbiter.
func View(s State) proto.Message {
	v := &messages.ArbiterView{Decided: s.Decided, Refused: s.Refused, Host: s.Host, Epoch: s.Epoch, Inversions: s.inversions()}
	for _, id := range slices.Sorted(maps.Keys(s.Open)) {
		v.Open = append(v.Open, s.Open[id].Placement)
	}
	for _, holder := range slices.Sorted(maps.Keys(s.Hints)) {
		h := s.Hints[holder]
		v.Hints = append(v.Hints, &messages.HintReply{Model: holder, Gpu: h.Gpu, Bytes: h.Bytes, UntilMs: h.UntilMS, Owner: h.Owner})
	}
	if m := s.Moving; m != nil {
		v.Defrag = &messages.DefragPlan{Id: m.Plan.Id, Moves: m.Plan.Moves[m.Next:], Gpu: m.Plan.Gpu, NeedBytes: m.Plan.NeedBytes}
	}
	return v
}
