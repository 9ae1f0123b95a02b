package arbiter

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"modelops/messages"
)

// allocated is a holder with memory of a device, as the scheduler saw it, with the figures that a decision derives.
type allocated struct {
	*messages.Allocation
	bytes uint64  // what its leaving gives back
	rank  float64 // by the policy: lower goes first
	use   use
}

// use is how much an allocation is needed where it is.
type use int

const (
	atRest use = iota
	warm       // its last answer is so young that the next request is likely on its way: counts as busy
	busy       // has requests running or waiting, or is on its way in or out
)

// useOf gives it for a collation in ms. A caller that sends one request after the other leaves gaps in which a model only looks idle: without
// collation each gap would be an eviction.
func useOf(r *messages.Allocation, collation int64) use {
	switch {
	case !inPlace(r) || r.Active > 0 || r.Queued > 0:
		return busy
	case r.State == messages.Allocation_settled && r.IdleMs < collation: // a dormant one has been idle for longer, even if a restart forgot for how long
		return warm
	}
	return atRest
}

// inPlace tells whether a holder has its memory and stays there, awake or asleep.
func inPlace(r *messages.Allocation) bool {
	return r.State == messages.Allocation_settled || r.State == messages.Allocation_dormant
}

// movable tells whether a holder may be asked to leave: not when pinned, and while busy only for an overdue claim, when it drains.
func movable(r *messages.Allocation, u use, overdue bool) bool {
	return !r.Pinned && (u == atRest || overdue && inPlace(r))
}

func (r allocated) victim(reason string) *messages.Victim {
	v := &messages.Victim{}
	r.describe(v, reason)
	return v
}

func (r allocated) describe(v *messages.Victim, reason string) {
	v.Holder, v.Bytes, v.IdleMs, v.LoadMs, v.Reason = r.Holder, r.bytes, r.IdleMs, r.LoadMs, reason
}

// policy orders victims: the lowest score goes first. The score is taken once a decision.
type policy struct {
	name  string
	said  string // the reason that its victims are given
	score func(r *messages.Allocation) float64
}

// policies by the name that the configuration uses.
var policies = map[string]policy{
	"first_fit":  {"first_fit", "first to go by first_fit", func(r *messages.Allocation) float64 { return -float64(r.HeldMs) }},
	"lru":        {"lru", "first to go by lru", func(r *messages.Allocation) float64 { return -float64(r.IdleMs) }},
	"cost_aware": {"cost_aware", "first to go by cost_aware", worth},
}

// worth is the reload cost weighed by how likely it is paid soon: a model idle for long is needed less, one that loads fast is
// missed less. It is GreedyDual's ratio (Young 1994; Cao and Irani 1997) without sizes, since the victim set is minimised
// afterwards.
func worth(r *messages.Allocation) float64 {
	return (float64(r.LoadMs) + 100) / (float64(r.IdleMs) + 1000)
}

// rank orders allocations by a policy, in place; equals by name, so that a decision can be repeated.
func rank(p policy, rs []allocated) {
	for i := range rs {
		rs[i].rank = p.score(rs[i].Allocation)
	}
	slices.SortFunc(rs, func(a, b allocated) int {
		switch { // a rank is a number: cmp.Compare would look for NaN, in the hot part of a decision
		case a.rank < b.rank:
			return -1
		case a.rank > b.rank:
			return 1
		}
		return strings.Compare(a.Holder, b.Holder)
	})
}

// turns are the classes of allocations in which victims are looked for: settled ones, those inside their minimum residency, and last busy ones.
var turns = []func(allocated) bool{
	func(r allocated) bool { return r.use == atRest && !r.Young },
	func(r allocated) bool { return r.use == atRest && r.Young },
	func(r allocated) bool { return r.use != atRest },
}

// chooseVictims finds the smallest set of allocations, by the policy's order, whose memory together with free covers need. A pinned one is
// never in it, one inside its minimum residency only when the others don't suffice, and a busy one only when the claim is overdue: it then
// drains, so that its running requests end. The set is made in scratch.
func chooseVictims(p policy, need, free uint64, rs []allocated, overdue bool, scratch []allocated) (victims []allocated, ok bool) {
	if need <= free {
		return nil, true
	}
	rank(p, rs)
	victims = slices.Grow(scratch[:0], min(len(rs), 8))
	sum := free
	for _, turn := range turns {
		for _, r := range rs {
			if r.bytes == 0 || !movable(r.Allocation, r.use, overdue) || !turn(r) {
				continue
			}
			victims = append(victims, r)
			if sum += r.bytes; sum >= need {
				return spare(victims, sum-need), true
			}
		}
	}
	return nil, false
}

// spare drops victims that aren't needed, the most valuable first: those that the policy put last.
func spare(victims []allocated, surplus uint64) []allocated {
	for i := len(victims) - 1; i >= 0; i-- {
		if b := victims[i].bytes; b <= surplus {
			surplus -= b
			victims = slices.Delete(victims, i, i+1)
		}
	}
	return victims
}

// spareLatest leaves out the allocation that was placed or used last. Pressure begins below the limit, and placement goes up to it: without it, a model
// that fits only above the threshold would be loaded and evicted in turn.
func spareLatest(rs []allocated) []allocated {
	if len(rs) == 0 {
		return rs
	}
	since := func(r allocated) int64 { return min(r.IdleMs, r.HeldMs) }
	latest := slices.MinFunc(rs, func(a, b allocated) int {
		return cmp.Or(cmp.Compare(since(a), since(b)), strings.Compare(a.Holder, b.Holder))
	})
	return slices.DeleteFunc(rs, func(r allocated) bool { return r.Holder == latest.Holder })
}

// immovable says, in words and numbers, why the allocations of a device don't make room.
func immovable(rs []allocated) string {
	var inUse int
	var answered, pinned []string
	for _, r := range rs {
		switch {
		case r.Pinned:
			pinned = append(pinned, pin(r))
		case r.use == busy:
			inUse++
		case r.use == warm:
			answered = append(answered, fmt.Sprintf("%s answered %s ago and its caller may ask again", r.Holder, ms(r.IdleMs)))
		}
	}
	said := []string{fmt.Sprintf("%d resident", len(rs)), fmt.Sprintf("%d busy", inUse)}
	slices.Sort(pinned)
	slices.Sort(answered)
	return strings.Join(slices.Concat(said, answered, pinned), ", ")
}

// pin says who pinned an allocation and until when.
func pin(r allocated) string {
	by := r.Holder + " pinned by " + cmp.Or(r.PinnedBy, "somebody")
	if r.PinnedUntilMs == 0 {
		return by
	}
	return by + " until " + until(r.PinnedUntilMs)
}
