package arbiter

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/actors/entity"
	"modelops/messages"
)

// Rules is Decide with its configuration.
type Rules struct {
	Policy string // first_fit, lru or cost_aware; empty = cost_aware
	// MaxLoads bounds how many models load at the same time; 0 = no bound.
	MaxLoads int
	// MaxWait is how long a model waits before busy ones must end their turn for it; 0 = 30 s.
	MaxWait time.Duration
	// Collation is how long after its last answer a model still counts as busy for others; 0 = not at all.
	Collation time.Duration
	// Defrag is what happens when moving idle models would spare an eviction: propose says so, auto moves them; else nothing.
	Defrag string
}

func (r Rules) maxWait() time.Duration { return cmp.Or(r.MaxWait, 30*time.Second) }

func (r Rules) policy() policy {
	if p, ok := policies[r.Policy]; ok {
		return p
	}
	return policies["cost_aware"]
}

// Decide turns a command into facts.
func (r Rules) Decide(s State, command proto.Message, at entity.Stamp) (entity.Verdict, error) {
	if at.Readings != nil { // the command with what was observed
		command = at.Readings
	}
	now := timestamppb.New(at.Now)
	switch c := command.(type) {
	case *messages.PlaceModel:
		return r.placeModel(s, c, at)
	case *messages.RelievePressure:
		return r.relieve(s, c, now)
	case *messages.HintModel:
		return r.hint(s, c, at)
	case *messages.PlanDefrag:
		return r.defrag(s, c, at)
	case *messages.ReportMoveLeft:
		if m := s.Moving.now(); m == nil || s.Moving.Plan.Id != c.Id || m.Model != c.Model || s.Moving.Left {
			return entity.Verdict{}, nil
		}
		return entity.Facts(&messages.MoveLeft{Id: c.Id, Model: c.Model, At: now}), nil
	case *messages.EndDefrag:
		if s.Moving == nil || s.Moving.Plan.Id != c.Id {
			return entity.Verdict{}, nil
		}
		return entity.Facts(&messages.DefragEnded{Id: c.Id, Reason: c.Reason, At: now}), nil
	case *messages.ReportEvicted:
		if o, ok := s.Open[c.Id]; !ok || o.Step != Evicting || !slices.Contains(o.leaving(), c.Model) {
			return entity.Verdict{}, nil
		}
		return entity.Facts(&messages.VictimEvicted{Id: c.Id, Model: c.Model, At: now}), nil
	case *messages.ReportReserved:
		if o, ok := s.Open[c.Id]; !ok || o.Step != Decided {
			return entity.Verdict{}, nil
		}
		return entity.Facts(&messages.PlacementReserved{Id: c.Id, Epoch: c.Epoch, At: now}), nil
	case *messages.ReportReservationRefused:
		if o, ok := s.Open[c.Id]; !ok || o.Step != Decided {
			return entity.Verdict{}, nil
		}
		return entity.Facts(&messages.PlacementRefused{Id: c.Id, Error: c.Error, At: now}), nil
	case *messages.AbandonPlacement:
		if o, ok := s.Open[c.Id]; !ok || o.Step == Releasing {
			return entity.Verdict{}, nil
		}
		return entity.Facts(&messages.PlacementAbandoned{Id: c.Id, Reason: c.Reason, At: now}), nil
	case *messages.ClosePlacement:
		if o, ok := s.Open[c.Id]; !ok || o.Step != Reserved && o.Step != Releasing { // a grant may be under way: abandon it instead
			return entity.Verdict{}, nil
		}
		return entity.Facts(&messages.PlacementClosed{Id: c.Id, Reason: c.Reason, At: now}), nil
	}
	return entity.Verdict{}, entity.Unknown(s.ID, command)
}

// placeModel decides once for an attempt; asking again tells how far that decision is. An owner's refusal is told once:
// the next question for the same attempt is decided anew, with the ledgers as they are then. A model that could fit but for
// who is busy waits: that is journaled once for an attempt.
func (r Rules) placeModel(s State, c *messages.PlaceModel, at entity.Stamp) (entity.Verdict, error) {
	if c.Model == "" || c.Attempt == 0 {
		return entity.Verdict{}, messages.NewError(messages.InvalidArgument, s.ID.String(), "a placement needs a model and its attempt")
	}
	if id, err := messages.ParseActorID(c.Model); err != nil || id.Kind != messages.KindModel {
		return entity.Verdict{}, messages.Errorf(messages.InvalidArgument, s.ID.String(), "%q is no model's actor: nobody could take its placement", c.Model).
			WithHint("write model/HOST/NAME")
	}
	if o, ok := s.openFor(c.Model, c.Attempt); ok {
		return answer(o.Placement), nil
	}
	q := questionOf(s, c, at.Now.UnixMilli())
	if n := loading(s, c.Residents); r.MaxLoads > 0 && n >= r.MaxLoads {
		return postpone(s, c, nil, fmt.Sprintf("%d models load already, at most %d at a time", n, r.MaxLoads), at), nil
	}
	q.overdue, q.collation = q.waited > r.maxWait(), r.Collation.Milliseconds()
	p := r.policy()
	candidates := s.weigh(p, q)
	chosen := choose(candidates, q.shards)
	switch {
	case chosen == nil && possible(candidates, q.shards):
		return postpone(s, c, candidates, sums(candidates), at), nil
	case chosen == nil:
		return entity.Verdict{}, never(q, candidates)
	}
	if turn := q.behind(evicting(chosen) > 0, r.maxWait()); turn != "" {
		for _, x := range chosen {
			x.Chosen = false
		}
		return postpone(s, c, candidates, turn, at), nil
	}
	advice := ""
	if evicting(chosen) > 0 && !q.overdue && q.shards == 1 {
		v, words := r.instead(s, c, q, candidates, at)
		if v != nil {
			chosen[0].Chosen = false
			return *v, nil
		}
		advice = words
	}
	placement := q.placementOn(chosen, c, at.ID)
	v := answer(placement)
	v.Events = []proto.Message{&messages.PlacementDecided{Placement: placement, Policy: p.name, Candidates: candidates,
		NeedFrom: c.NeedFrom, Advice: advice, At: timestamppb.New(at.Now)}}
	return v, nil
}

// instead looks for moves that would spare an eviction. They are tried once for an attempt; what they bring is kept for the asker.
func (r Rules) instead(s State, c *messages.PlaceModel, q question, candidates []*messages.Candidate, at entity.Stamp) (wait *entity.Verdict, advice string) {
	if m := s.Moving; m != nil {
		if m.Plan.Model != c.Model {
			return nil, ""
		}
		v := postpone(s, c, candidates, "room is being made for it: "+said(m.Plan.Moves[m.Next:]), at)
		return &v, ""
	}
	if r.Defrag != "propose" && r.Defrag != "auto" || s.Postponed[c.Model] == c.Attempt {
		return nil, ""
	}
	p := s.spared(q)
	switch {
	case p == nil:
		return nil, ""
	case r.Defrag == "propose":
		return nil, "nobody would have to leave if these moved: " + said(p.Moves) + "; modelops defrag --for MODEL --apply does it before the next time"
	}
	v := postpone(s, c, candidates, "room is being made for it: "+said(p.Moves), at)
	p.Id = at.ID
	v.Events = append(v.Events, carryOut(at, p, c.Model)...)
	return &v, ""
}

// loading counts who is on its way to a device: decided and not handed over, or loading. A victim that left and is back counts, even
// while its leaving hasn't been reported.
func loading(s State, seen []*messages.Resident) int {
	n := 0
	for _, o := range s.Open {
		if !o.relief() && o.Step != Releasing {
			n++
		}
	}
	for _, r := range seen {
		if r.Gpu != "" && r.Phase == "loading" {
			n++
		}
	}
	return n
}

func answer(p *messages.Placement) entity.Verdict {
	return entity.Verdict{Answer: func(uint64) proto.Message { return &messages.PlacementReply{Placement: p} }}
}

// postpone tells a model to ask again.
func postpone(s State, c *messages.PlaceModel, candidates []*messages.Candidate, reason string, at entity.Stamp) entity.Verdict {
	v := entity.Verdict{Answer: func(uint64) proto.Message { return &messages.PlacementReply{WaitsFor: reason} }}
	if s.Postponed[c.Model] != c.Attempt {
		v.Events = []proto.Message{&messages.PlacementPostponed{Model: c.Model, Attempt: c.Attempt, Candidates: candidates, Reason: reason,
			Over: s.over(c), At: timestamppb.New(at.Now)}}
	}
	return v
}

// over are those who were told to wait and aren't seen to any more.
func (s State) over(c *messages.PlaceModel) (out []string) {
	for _, model := range slices.Sorted(maps.Keys(s.Postponed)) {
		if model != c.Model && !slices.ContainsFunc(c.Residents, func(r *messages.Resident) bool { return r.Model == model && r.Gpu == "" }) {
			out = append(out, model)
		}
	}
	return out
}

// relieve chooses idle models to unload until a device's use is below a level. A device that can't be relieved stays as it is: what
// is busy or pinned is never taken for this.
func (r Rules) relieve(s State, c *messages.RelievePressure, now *timestamppb.Timestamp) (entity.Verdict, error) {
	for _, o := range s.Open {
		if _, on := o.Placement.On(c.Gpu); on {
			return entity.Verdict{}, nil // something is on its way there already
		}
	}
	var used uint64
	for _, l := range c.Ledgers {
		if l.Id == c.Gpu {
			used = l.ReservedBytes + l.ForeignBytes
		}
	}
	if used <= c.LevelBytes {
		return entity.Verdict{}, nil
	}
	var unused []resident
	q := question{leaving: s.leaving(), moving: s.Moving.now().GetModel()}
	for _, x := range c.Residents {
		if bytes, on := x.On(c.Gpu); on && q.settled(x) && bytes > 0 && !x.Young && movable(x, useOf(x, r.Collation.Milliseconds()), false) {
			unused = append(unused, resident{Resident: x, bytes: bytes})
		}
	}
	p := r.policy()
	rank(p, unused)
	var out []*messages.Victim
	for _, v := range unused {
		if used <= c.LevelBytes {
			break
		}
		used -= min(v.bytes, used)
		out = append(out, v.victim(p.said))
	}
	if len(out) == 0 {
		return entity.Verdict{}, nil
	}
	return entity.Facts(&messages.PressureRelieved{Gpu: c.Gpu, Victims: out, Reason: c.Reason, At: now}), nil
}
