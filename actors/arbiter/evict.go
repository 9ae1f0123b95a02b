package arbiter

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

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

// restful tells whether a holder may be asked to leave while nobody waits for its memory: it isn't pinned and does nothing.
func restful(r *messages.Allocation, u use) bool { return !r.Pinned && u == atRest }

// terms say who may be asked to leave for a claim.
type terms struct {
	priority int32
	// overdue: it has waited so long that busy models must end their turn.
	overdue bool
	// job: it is a job's. Idle models leave for it only when evictIdle is set, and only once they have rested for a while.
	job, evictIdle bool
	// free: it takes free memory only, because it goes beyond a quota.
	free bool
	// lent are the jobs that go beyond a quota, for a job that is entitled.
	lent map[string]bool
}

// restsFor is how long a model must have been idle before a job takes its memory: a request that comes next would have to wait for its load.
const restsFor = time.Minute

// moves tells whether a holder may be asked to leave for a claim: not when pinned, and a busy model only for an overdue claim, when it drains. A job leaves
// at once for who has a higher priority, or lent it its quota.
func (t terms) moves(r *messages.Allocation, u use) bool {
	switch {
	case r.Pinned, t.free:
		return false
	case r.Job:
		return inPlace(r) && (r.Priority < t.priority || t.lent[r.Holder] || !t.job && t.overdue && r.Priority == t.priority)
	case t.job && (u != atRest || r.Young || r.IdleMs < restsFor.Milliseconds()):
		return t.overdue && inPlace(r) && t.priority > r.Priority
	case u == atRest:
		return !t.job || t.evictIdle
	}
	return t.overdue && inPlace(r)
}

func (r allocated) victim(reason string) *messages.Victim {
	v := &messages.Victim{}
	r.describe(v, reason)
	return v
}

func (r allocated) describe(v *messages.Victim, reason string) {
	if r.Job {
		reason = "a job that leaves at once for what goes first; " + ms(r.UnsavedMs).Round(time.Second).String() + " since its last checkpoint"
	}
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
//
// A job's is what it has to do again. It is small against a model's: who trains waits, and nobody waits for an answer.
func worth(r *messages.Allocation) float64 {
	if r.Job {
		return (float64(r.UnsavedMs) + 1000) / 1e7
	}
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

// jobsFirst puts jobs in front, those of the lowest priority first, and of these the ones that lose the least; jobs is how many there are.
func jobsFirst(rs []allocated) (jobs int) {
	for i := range rs {
		if rs[i].Job {
			jobs++
		}
	}
	if jobs > 0 {
		slices.SortStableFunc(rs, func(a, b allocated) int {
			if !a.Job || !b.Job {
				return cmp.Compare(pick(a.Job, 0, 1), pick(b.Job, 0, 1))
			}
			return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.UnsavedMs, b.UnsavedMs), strings.Compare(a.Holder, b.Holder))
		})
	}
	return jobs
}

func pick(first bool, a, b int) int {
	if first {
		return a
	}
	return b
}

// chooseVictims finds the smallest set of allocations whose memory together with free covers need: jobs first, then models by the policy's order. A pinned
// one is never in it, one inside its minimum residency only when the others don't suffice, and a busy model only when the claim is overdue: it then
// drains, so that its running requests end. The set is made in scratch.
func chooseVictims(p policy, need, free uint64, rs []allocated, t terms, scratch []allocated) (victims []allocated, ok bool) {
	if need <= free {
		return nil, true
	}
	if t.free {
		return nil, false
	}
	rank(p, rs)
	jobs := jobsFirst(rs)
	victims = slices.Grow(scratch[:0], min(len(rs), 8))
	sum := free
	for _, r := range rs[:jobs] {
		if r.bytes == 0 || !t.moves(r.Allocation, r.use) {
			continue
		}
		victims = append(victims, r)
		if sum += r.bytes; sum >= need {
			return spare(victims, sum-need), true
		}
	}
	for _, turn := range turns {
		for _, r := range rs[jobs:] {
			if r.bytes == 0 || !t.moves(r.Allocation, r.use) || !turn(r) {
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
		case r.Job && inPlace(r.Allocation):
			answered = append(answered, fmt.Sprintf("%s trains with priority %d", r.Holder, r.Priority))
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
