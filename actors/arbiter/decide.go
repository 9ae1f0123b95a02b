package arbiter

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
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
	// MaxWait is how long a model waits before busy ones must end their turn for it; 0 = 5 s.
	MaxWait time.Duration
	// Collation is how long after its last answer a model still counts as busy for others; 0 = not at all.
	Collation time.Duration
	// KeepWarm is within which time an idle model must have answered to move to another host when it has to leave; 0 = none moves.
	KeepWarm time.Duration
	// ThresholdPct is the part of a device's limit above which idle models leave it: a move doesn't bring that about. 0 = there is none.
	ThresholdPct int
	// Defrag is what happens when moving idle models would spare an eviction: propose says so, auto moves them; else nothing.
	Defrag string
	// Learning are the rules for jobs; Live gives those that are in force now, nil = they never change.
	Learning Learning
	Live     func() Learning
}

func (r Rules) maxWait() time.Duration { return cmp.Or(r.MaxWait, 5*time.Second) }

func (r Rules) policy() policy {
	if p, ok := policies[r.Policy]; ok {
		return p
	}
	return policies["cost_aware"]
}

// readings are what Observe saw for a command; empty when nothing was seen.
func readings(at entity.Stamp) *messages.SchedulerReadings {
	if r, ok := at.Readings.(*messages.SchedulerReadings); ok {
		return r
	}
	return &messages.SchedulerReadings{}
}

// Decide turns a command into facts.
func (r Rules) Decide(s State, command proto.Message, at entity.Stamp) (entity.Verdict, error) {
	now := timestamppb.New(at.Now)
	if err := s.seated(readings(at)); err != nil {
		return entity.Verdict{}, err
	}
	switch c := command.(type) {
	case *messages.TakeOver:
		return takeOver(s, c, now)
	case *messages.StandDown:
		return standDown(s, c, now)
	case *messages.RequestPlacement:
		return r.requestPlacement(s, c, at)
	case *messages.RelievePressure:
		return r.relieve(s, c, readings(at), now)
	case *messages.HintPlacement:
		return r.hint(s, c, at)
	case *messages.PlanDefrag:
		return r.defrag(s, c, at)
	case *messages.ReportMoveLeft:
		if m := s.Moving.now(); m == nil || s.Moving.Plan.Id != c.Id || m.Holder != c.Holder || s.Moving.Left {
			return entity.Verdict{}, nil
		}
		return entity.Facts(&messages.MoveLeft{Id: c.Id, Holder: c.Holder, At: now}), nil
	case *messages.EndDefrag:
		if s.Moving == nil || s.Moving.Plan.Id != c.Id {
			return entity.Verdict{}, nil
		}
		return entity.Facts(&messages.DefragEnded{Id: c.Id, Reason: c.Reason, At: now}), nil
	case *messages.CheckInversion:
		return s.checkInversion(c, readings(at), now)
	case *messages.ReportReinstated:
		return s.reinstated(c, now)
	case *messages.QueryHolding:
		return entity.Verdict{Answer: func(uint64) proto.Message {
			return &messages.HoldingReply{Holds: s.holds(c.Lease), ArbiterEpoch: s.Epoch}
		}}, nil
	}
	return r.decideOpen(s, command, now)
}

// decideOpen is Decide for the steps of an open placement.
func (r Rules) decideOpen(s State, command proto.Message, now *timestamppb.Timestamp) (entity.Verdict, error) {
	switch c := command.(type) {
	case *messages.ReportPreempted:
		if o, ok := s.Open[c.Id]; !ok || o.Step != Evicting || !slices.Contains(o.leaving(), c.Holder) {
			return entity.Verdict{}, nil
		}
		return entity.Facts(&messages.VictimPreempted{Id: c.Id, Holder: c.Holder, At: now}), nil
	case *messages.ReportReserved:
		if o, ok := s.Open[c.Id]; !ok || o.Step != Decided || len(c.Epochs) != len(o.Placement.Shares) {
			return entity.Verdict{}, nil
		}
		return entity.Facts(&messages.PlacementReserved{Id: c.Id, Epochs: c.Epochs, At: now}), nil
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
		o, ok := s.Open[c.Id]
		switch {
		case c.TakenOver && o.Step != Reserved:
			return entity.Verdict{}, messages.NewError(messages.FailedPrecondition, c.Id, "the placement was given up, or is taken over already").
				WithHint("ask for the memory again")
		case !ok || o.Step != Reserved && o.Step != Releasing: // a grant may be under way: abandon it instead
			return entity.Verdict{}, nil
		}
		return entity.Facts(&messages.PlacementClosed{Id: c.Id, Reason: c.Reason, At: now}), nil
	}
	return entity.Verdict{}, entity.Unknown(s.ID, command)
}

// requestPlacement decides a claim once; asking again tells how far that decision is. An owner's refusal is told once: the next question for
// the same claim is decided again, with the ledgers as they are then. A holder that would fit without the busy ones waits: that is journaled once
// for a claim.
func (r Rules) requestPlacement(s State, c *messages.RequestPlacement, at entity.Stamp) (entity.Verdict, error) {
	if err := checkRequest(s, c); err != nil {
		return entity.Verdict{}, err
	}
	if r.Live != nil {
		r.Learning = r.Live()
	}
	seen := readings(at)
	q := questionOf(s, c, seen, at.Now.UnixMilli())
	later := func(v entity.Verdict) (entity.Verdict, error) {
		if pins := q.heldByPins(); pins != nil && anyHost(c.Holder) { // who seeks for requests refuses those that can't wait so long
			return entity.Verdict{}, pins
		}
		return v, nil
	}
	if v, known := s.underway(c, q, seen.GetLedgers()); known {
		if o, ok := s.openFor(c.Holder, c.Claim.Id, q); ok && (o.SinceMS > 0 || s.Inversions[c.Holder] != nil) {
			return s.turned(v, q, r.hangs(q, o), "the jobs have left for it"), nil
		}
		if q.seeksAlready() && !s.placed(c.Holder) {
			return later(v)
		}
		return v, nil
	}
	if why := s.waitsOut(c.Holder, at.Now); why != "" {
		return later(waits(why))
	}
	if c.FreeOnly {
		return r.requestFree(s, c, q, seen, at)
	}
	if isJob(c.Holder) {
		line := r.admit(s, q, c, seen)
		if q.line = &line; line.cause != "" {
			q.cause = line.cause
			return postpone(s, c, q, nil, line.reason, at), nil
		}
		q.queue(s, line)
	} else {
		r.settleEarlier(s, &q, seen)
	}
	if r.MaxLoads > 0 && !IsProgram(c.Holder) && q.line == nil {
		if n := starting(s, seen.Allocations); n >= r.MaxLoads {
			return later(postpone(s, c, q, nil, fmt.Sprintf("%d models load already, at most %d at a time", n, r.MaxLoads), at))
		}
	}
	q.terms, q.collation = r.termsOf(q), r.Collation.Milliseconds()
	p := r.policy()
	candidates := s.weigh(p, q)
	chosen := q.choose(candidates)
	switch {
	case chosen == nil && q.possible(candidates):
		q.cause = "memory"
		return later(r.shortOf(s, c, q, candidates, at))
	case chosen == nil:
		return entity.Verdict{}, never(q, candidates)
	}
	if turn := q.behind(hostOf(chosen[0].Gpu), candidates, evicting(chosen) > 0, r.maxWait()); turn != "" {
		for _, x := range chosen {
			x.Chosen = false
		}
		q.cause = "turn"
		return postpone(s, c, q, candidates, turn, at), nil
	}
	advice := ""
	if evicting(chosen) > 0 && !q.terms.overdue && !q.split() {
		v, words := r.instead(s, c, q, candidates, at)
		if v != nil {
			chosen[0].Chosen = false
			return *v, nil
		}
		advice = words
	}
	v := s.place(q, c, p, chosen, candidates, advice, at)
	d := v.Events[0].(*messages.PlacementDecided)
	d.Moves = r.moves(s, q, d.Placement, seen)
	d.Placement.Borrowed = q.line != nil && q.line.borrowing()
	q.victimsOf(d)
	return s.turned(v, q, nil, "it has a placement"), nil
}

// shortOf has a claim wait for memory that nobody gives it now, and says so when a job of lower priority is why.
func (r Rules) shortOf(s State, c *messages.RequestPlacement, q question, candidates []*messages.Candidate, at entity.Stamp) entity.Verdict {
	found := r.inverted(s, q, candidates)
	reason := sums(candidates)
	if found != nil {
		reason += "; a priority inversion: " + strings.Join(found.Chain, " -> ") + "; what helps: " + found.Remedy
	}
	return s.turned(postpone(s, c, q, candidates, reason, at), q, found, "no job of lower priority keeps it from its place now")
}

// place is the decision for the chosen devices.
func (s State) place(q question, c *messages.RequestPlacement, p policy, chosen, candidates []*messages.Candidate, advice string, at entity.Stamp) entity.Verdict {
	placement := q.placementOn(chosen, c, at.ID)
	placement.Arbiter, placement.ArbiterEpoch = s.Host, s.Epoch
	v := answer(placement)
	v.Events = []proto.Message{&messages.PlacementDecided{Placement: placement, Policy: p.name, Candidates: candidates,
		Source: sourceOn(c.Claim, placement.Host), Advice: advice, At: timestamppb.New(at.Now)}}
	return v
}

func checkRequest(s State, c *messages.RequestPlacement) error {
	switch {
	case c.Holder == "" || c.Claim.GetId() == "":
		return messages.NewError(messages.InvalidArgument, s.ID.String(), "a placement needs a holder and the id of its claim")
	case !validHolder(c.Holder):
		return messages.Errorf(messages.InvalidArgument, s.ID.String(), "no placement could be handed to %q", c.Holder).
			WithHint("write model/HOST/NAME, job/HOST/ID, model/*/NAME for any host, or client/NAME")
	case len(c.Claim.Needs) == 0:
		return messages.Errorf(messages.InvalidArgument, s.ID.String(), "the claim of %s names no host where it can run", c.Holder)
	case !slices.ContainsFunc(c.Claim.Needs, func(n *messages.Need) bool { return hostOrderOf(c.Claim, nil).lists(n.Host) }):
		return messages.Errorf(messages.InvalidArgument, c.Holder, "it may run on %s only, and none of them declares it", strings.Join(c.Claim.Hosts, ", ")).
			WithHint("name a host that declares it in the model's hosts, or declare it on one of them")
	}
	return nil
}

// underway answers a claim that is decided already, or a name that has its memory by another claim.
func (s State) underway(c *messages.RequestPlacement, q question, ledgers []*messages.GpuView) (entity.Verdict, bool) {
	if o, ok := s.openFor(c.Holder, c.Claim.Id, q); ok {
		return answer(o.Placement), true
	}
	if !anyHost(c.Holder) {
		return entity.Verdict{}, false
	}
	for _, a := range q.kin {
		switch {
		case !same(a.Holder, c.Holder) || anyHost(a.Holder), q.cutOff(a.Holder):
		case a.State == messages.Allocation_changing:
			return waits(a.Holder + " is on its way out, or changes"), true
		default:
			return entity.Verdict{Answer: func(uint64) proto.Message { return &messages.PlacementReply{Already: a.Holder} }}, true
		}
	}
	_, named, _ := strings.Cut(c.Holder, messages.AnyHost) // most holders have another name: they are compared without splitting it
	for _, l := range ledgers {
		for _, r := range l.Reservations {
			if strings.HasSuffix(r.Holder, named) && same(r.Holder, c.Holder) && !q.cutOff(r.Holder) { // no allocation any more: a second placement would hold memory twice
				return waits(r.Holder + " gives its memory back"), true
			}
		}
	}
	return entity.Verdict{}, false
}

func waits(reason string) entity.Verdict {
	return entity.Verdict{Answer: func(uint64) proto.Message { return &messages.PlacementReply{WaitsFor: reason} }}
}

// sourceText is the source of a claim's figure as people see it.
func sourceText(c *messages.Claim, host string) string {
	switch source := sourceOn(c, host); source {
	case messages.Need_source_unknown:
		return ""
	case messages.Need_assumed:
		return "unknown"
	default:
		return source.String()
	}
}

func sourceOn(c *messages.Claim, host string) messages.Need_Source {
	for _, n := range c.GetNeeds() {
		if n.Host == host || n.Host == "" {
			return n.Source
		}
	}
	return messages.Need_source_unknown
}

// starting counts the holders that are on their way to a device: decided and not handed over, or starting. A victim that left and is back
// counts, even while its leaving hasn't been reported. Programs start nothing here, and jobs load nothing that others wait for.
func starting(s State, seen []*messages.Allocation) int {
	n := 0
	for _, o := range s.Open {
		if !o.relief() && o.Step != Releasing && !IsProgram(o.Placement.Holder) && !isJob(o.Placement.Holder) {
			n++
		}
	}
	for _, r := range seen {
		if r.State == messages.Allocation_starting && !r.Job {
			n++
		}
	}
	return n
}

func answer(p *messages.Placement) entity.Verdict {
	return entity.Verdict{Answer: func(uint64) proto.Message { return &messages.PlacementReply{Placement: p} }}
}

// tellAgain is how soon another reason for which a job waits is journaled: it asks each second, for hours.
const tellAgain = time.Minute

// termsOf says who may be asked to leave for a claim.
func (r Rules) termsOf(q question) terms {
	t := terms{priority: q.priority, overdue: q.waited > r.maxWait()}
	if q.line != nil {
		t.job, t.evictIdle = true, !r.Learning.KeepIdle
		if t.free = q.line.borrowing(); !t.free {
			t.lent = q.line.books.lent
		}
	}
	return t
}

// postpone tells a holder to ask again.
func postpone(s State, c *messages.RequestPlacement, q question, candidates []*messages.Candidate, reason string, at entity.Stamp) entity.Verdict {
	var place, waiting uint32
	if q.line == nil {
		q.cause = ""
	} else {
		reason, place, waiting = q.line.inLine(reason)
	}
	v := entity.Verdict{Answer: func(uint64) proto.Message { return &messages.PlacementReply{WaitsFor: reason} }}
	told, homes, pinned := s.Postponed[c.Holder], q.homes(), q.heldByPins() != nil
	if told.Claim != c.Claim.Id && q.waits(c.Holder, told.Claim) {
		return v // programs of one name wait: to tell each in turn would end never, because each event makes all of them ask again
	}
	if told.Claim != c.Claim.Id || !slices.Equal(told.Hosts, homes) || told.Pinned != pinned || told.Cause != q.cause && q.now-told.AtMS >= tellAgain.Milliseconds() {
		v.Events = []proto.Message{&messages.PlacementPostponed{Holder: c.Holder, Claim: c.Claim.Id, Candidates: candidates, Reason: reason,
			Over: s.over(c, q), Priority: c.Priority, Hosts: homes, Pinned: pinned, Cause: q.cause, Place: place, Waiting: waiting, At: timestamppb.New(at.Now)}}
	}
	return v
}

// waits tells whether a program waits in line with a claim.
func (q question) waits(holder, claim string) bool {
	return claim != "" && slices.ContainsFunc(q.allocations, func(r *messages.Allocation) bool {
		return r.Holder == holder && r.Claim == claim && r.State == messages.Allocation_seeking
	})
}

// over are the holders that were told to wait and no longer seek memory.
func (s State) over(c *messages.RequestPlacement, q question) (out []string) {
	for _, holder := range slices.Sorted(maps.Keys(s.Postponed)) {
		seeks := func(r *messages.Allocation) bool {
			return r.Holder == holder && r.State == messages.Allocation_seeking
		}
		if holder != c.Holder && !slices.ContainsFunc(q.allocations, seeks) {
			out = append(out, holder)
		}
	}
	return out
}
