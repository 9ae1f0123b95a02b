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

// Room is kept by hints and made by moves.

// Hint is room that is kept for a model: a penalty for others, never a refusal.
type Hint struct {
	Gpu     string
	Bytes   uint64
	UntilMS int64
	Owner   string
}

// Moving is a plan that is carried out, move by move.
type Moving struct {
	Plan *messages.DefragDecided
	Next int
	Left bool // the model of the next move is away from its old device
}

// now is the move under way.
func (m *Moving) now() *messages.Move {
	if m == nil || m.Next >= len(m.Plan.Moves) {
		return nil
	}
	return m.Plan.Moves[m.Next]
}

// hinted adds a hint and drops those whose time is over.
func hinted(hints map[string]Hint, e *messages.PlacementHinted) map[string]Hint {
	now, out := e.At.AsTime().UnixMilli(), map[string]Hint{}
	for holder, h := range hints {
		if h.UntilMS > now && holder != e.Holder {
			out[holder] = h
		}
	}
	if e.UntilMs > now {
		out[e.Holder] = Hint{e.Gpu, e.Bytes, e.UntilMs, e.Owner}
	}
	return out
}

// movedOn is the plan after a placement. The move is done when its model has its new place: on any device, and also when its leaving isn't
// reported yet, because a waiting request may ask for it sooner. The plan is over when a model that was still to move is a victim of another
// placement: it isn't brought back.
func movedOn(m *Moving, holder string, victims []string) *Moving {
	for i := 0; m != nil && i < len(victims); i++ {
		if slices.ContainsFunc(m.Plan.Moves[m.Next:], func(x *messages.Move) bool { return x.Holder == victims[i] }) {
			return nil
		}
	}
	if move := m.now(); move == nil || move.Holder != holder {
		return m
	}
	if m.Next+1 >= len(m.Plan.Moves) {
		return nil
	}
	return &Moving{Plan: m.Plan, Next: m.Next + 1}
}

// wants is where a hint or a plan wants a model.
func (s State) wants(holder string, now int64) string {
	if m := s.Moving.now(); m != nil && same(m.Holder, holder) {
		return m.To
	}
	if len(s.Hints) == 0 { // sorting nothing allocates, and this is the hot part of a decision
		return ""
	}
	for _, hinted := range slices.Sorted(maps.Keys(s.Hints)) {
		if h := s.Hints[hinted]; same(hinted, holder) && h.UntilMS > now {
			return h.Gpu
		}
	}
	return ""
}

// keptFor names the holder whose hinted room a candidate's need would eat.
func (s State) keptFor(c *messages.Candidate, holder string, now int64) string {
	for _, other := range slices.Sorted(maps.Keys(s.Hints)) {
		h := s.Hints[other]
		if !same(other, holder) && h.Gpu == c.Gpu && h.UntilMS > now && c.ReservedBytes+c.ForeignBytes+c.NeedBytes+h.Bytes > c.LimitBytes {
			return other
		}
	}
	return ""
}

// standing orders equal devices: the wanted one first, one whose room is kept for another holder last.
func standing(c *messages.Candidate) int {
	switch {
	case c.Preferred:
		return -1
	case c.KeptFor != "":
		return 1
	}
	return 0
}

// mostHints bounds how many models room is kept for.
const mostHints = 64

func (r Rules) hint(s State, c *messages.HintPlacement, at entity.Stamp) (entity.Verdict, error) {
	if !validHolder(c.Holder) || IsProgram(c.Holder) {
		return entity.Verdict{}, messages.Errorf(messages.InvalidArgument, s.ID.String(), "%q is no holder for which room could be kept", c.Holder).WithHint("write model/HOST/NAME")
	}
	if len(c.Owner) > messages.LongestOwner {
		return entity.Verdict{}, messages.Errorf(messages.InvalidArgument, "owner", "it is longer than %d bytes", messages.LongestOwner).WithHint("name a person or a program")
	}
	_, known := s.Hints[c.Holder]
	now := at.Now.UnixMilli()
	switch {
	case c.WithinSeconds == 0 && !known:
		return entity.Verdict{}, nil
	case c.WithinSeconds == 0:
		return entity.Facts(&messages.PlacementHinted{Holder: c.Holder, Owner: c.Owner, At: timestamppb.New(at.Now)}), nil
	case shardsOf(c.Needs) > 1:
		return entity.Verdict{}, split(c.Holder, shardsOf(c.Needs))
	case bytesOf(c.Needs) == 0:
		return entity.Verdict{}, unknown(c.Holder)
	case !known && len(s.Hints) >= mostHints:
		return entity.Verdict{}, messages.Errorf(messages.Unavailable, s.ID.String(), "room is kept for %d models already", len(s.Hints)).WithRetry(time.Minute)
	}
	seen := readings(at)
	for _, x := range seen.Allocations {
		if same(x.Holder, c.Holder) && len(x.Shares) > 0 {
			reply := &messages.HintReply{Model: x.Holder, Gpu: x.Shares[0].Gpu, Bytes: x.Bytes()}
			return entity.Verdict{Answer: func(uint64) proto.Message { return reply }}, nil
		}
	}
	q := questionOf(s, &messages.RequestPlacement{Holder: c.Holder, Claim: &messages.Claim{Needs: c.Needs}}, seen, now)
	chosen, err := r.roomiest(s, q)
	if err != nil {
		return entity.Verdict{}, err
	}
	e := &messages.PlacementHinted{Holder: c.Holder, Gpu: chosen.Gpu, Bytes: chosen.NeedBytes, UntilMs: at.Now.Add(time.Duration(c.WithinSeconds) * time.Second).UnixMilli(),
		Owner: c.Owner, At: timestamppb.New(at.Now)}
	v := entity.Facts(e)
	v.Answer = func(uint64) proto.Message {
		return &messages.HintReply{Model: e.Holder, Gpu: e.Gpu, Bytes: e.Bytes, UntilMs: e.UntilMs, Owner: e.Owner}
	}
	return v, nil
}

// shardsOf and bytesOf are the most that is needed on any host.
func shardsOf(needs []*messages.Need) (most uint32) {
	for _, n := range needs {
		most = max(most, n.Shards)
	}
	return most
}

func bytesOf(needs []*messages.Need) (most uint64) {
	for _, n := range needs {
		most = max(most, n.Bytes)
	}
	return most
}

// split refuses a model that needs several devices: room is kept and made on one.
func split(model string, shards uint32) *messages.Error {
	return messages.Errorf(messages.Unsupported, model, "it is split over %d devices, and room is kept and made on one device only", shards).
		WithHint("modelops pin MODEL keeps it where it is once it is loaded")
}

func unknown(model string) *messages.Error {
	return messages.NewError(messages.InvalidArgument, model, "nothing is known of its memory").WithHint("say how much with --mb")
}

// roomiest is the device where a holder would go now, or the one with the most room while it would go nowhere.
func (r Rules) roomiest(s State, q question) (*messages.Candidate, error) {
	q.collation = r.Collation.Milliseconds()
	candidates := s.weigh(r.policy(), q)
	if chosen := q.choose(candidates); chosen != nil {
		return chosen[0], nil
	}
	if !q.possible(candidates) {
		return nil, never(q, candidates)
	}
	free := func(c *messages.Candidate) uint64 {
		return c.LimitBytes - min(c.ReservedBytes+c.ForeignBytes, c.LimitBytes)
	}
	large := slices.DeleteFunc(candidates, func(c *messages.Candidate) bool { return c.NeedBytes > c.LimitBytes })
	return slices.MaxFunc(large, func(a, b *messages.Candidate) int { return cmp.Compare(free(a), free(b)) }), nil
}

// keepRoom is how long the room that a plan made is kept for its holder.
const keepRoom = 2 * time.Minute

func (r Rules) defrag(s State, c *messages.PlanDefrag, at entity.Stamp) (entity.Verdict, error) {
	need := bytesOf(c.Needs)
	switch {
	case shardsOf(c.Needs) > 1:
		return entity.Verdict{}, split(c.Holder, shardsOf(c.Needs))
	case c.Holder != "" && need == 0: // without a need the holder gains nothing from moves of others
		return entity.Verdict{}, unknown(c.Holder)
	}
	needs := c.Needs
	if need == 0 {
		needs = nil
	}
	q := questionOf(s, &messages.RequestPlacement{Holder: c.Holder, Claim: &messages.Claim{Needs: needs}}, readings(at), at.Now.UnixMilli())
	q.collation = r.Collation.Milliseconds()
	l := s.layoutOf(q)
	reply := &messages.DefragPlan{NeedBytes: need}
	ok := false
	if need > 0 {
		reply.Moves, ok = l.plan(need)
	} else {
		reply.Moves, reply.NeedBytes, ok = l.grow()
	}
	reply.FreeBefore, _ = l.largest()
	l.after(reply)
	var v entity.Verdict
	switch {
	case s.Moving != nil && c.Apply:
		return v, messages.Errorf(messages.Conflict, s.ID.String(), "plan %s is being carried out: move %d of %d", s.Moving.Plan.Id, s.Moving.Next+1, len(s.Moving.Plan.Moves)).WithRetry(10 * time.Second)
	case need > 0 && !q.possible(s.weigh(r.policy(), q)):
		return v, never(q, s.weigh(r.policy(), q))
	case !ok && need > 0:
		reply.Note = fmt.Sprintf("no set of up to %d moves of idle, unpinned models make room for %s on one device", maxMoves, messages.FormatBytes(need))
	case !ok:
		reply.Note = "no move makes the largest free block larger by what is worth it"
	case len(reply.Moves) == 0:
		reply.Note = "it fits as it is"
	case c.Apply:
		reply.Id = at.ID
		v.Events = carryOut(at, reply, c.Holder)
	}
	v.Answer = func(uint64) proto.Message { return reply }
	return v, nil
}

// after fills in what a plan leaves: where the room is then, how much of it, and what is needed there.
func (l layout) after(p *messages.DefragPlan) {
	sites := slices.Clone(l.sites)
	for _, m := range p.Moves {
		for i := range sites {
			switch sites[i].gpu {
			case m.From:
				sites[i].free += m.Bytes
			case m.To:
				sites[i].free -= min(m.Bytes, sites[i].free)
			}
		}
	}
	at := layout{sites: sites}.room(p.NeedBytes)
	if at < 0 {
		return
	}
	p.FreeAfter, p.Gpu = sites[at].free, sites[at].gpu
	if need := sites[at].need; need > 0 {
		p.NeedBytes = need
	}
}

// carryOut are the facts of a plan that is carried out; the room is kept for the holder that it is made for.
func carryOut(at entity.Stamp, p *messages.DefragPlan, holder string) []proto.Message {
	now := timestamppb.New(at.Now)
	out := []proto.Message{&messages.DefragDecided{Id: p.Id, Moves: p.Moves, Gpu: p.Gpu, NeedBytes: p.NeedBytes, Holder: holder, At: now}}
	if holder != "" {
		out = append(out, &messages.PlacementHinted{Holder: holder, Gpu: p.Gpu, Bytes: p.NeedBytes, UntilMs: at.Now.Add(keepRoom).UnixMilli(), Owner: "defrag", At: now})
	}
	return out
}

// spared is the plan that makes room for a holder without an eviction; nil when there is none.
func (s State) spared(q question) *messages.DefragPlan {
	l := s.layoutOf(q)
	need := uint64(0)
	for _, n := range q.needs {
		need = max(need, n.bytes)
	}
	moves, ok := l.plan(need)
	if !ok || len(moves) == 0 {
		return nil
	}
	p := &messages.DefragPlan{Moves: moves, NeedBytes: need}
	l.after(p)
	return p
}

// inWords is a plan in words.
func inWords(moves []*messages.Move) string {
	var out []string
	for _, m := range moves {
		out = append(out, fmt.Sprintf("%s from %s to %s (%s, idle for %s, loads in %s)", m.Holder, m.From, m.To, messages.FormatBytes(m.Bytes),
			ms(m.IdleMs).Round(time.Second), ms(m.LoadMs)))
	}
	return strings.Join(out, ", then ")
}
