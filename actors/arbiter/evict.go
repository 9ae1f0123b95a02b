package arbiter

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"modelops/messages"
)

// resident is a model that holds memory of a device, as the scheduler sees it.
type resident struct {
	Model  string
	GPU    string
	Bytes  uint64
	Busy   bool // has requests running or waiting, or is on its way in or out
	Pinned bool
	Young  bool // inside its minimum residency
	Idle   time.Duration
	Held   time.Duration // since it became ready
	Load   time.Duration // what its last load took: the price of a mistake
	Groups []string
	Ready  bool // its worker answers
}

func (r resident) victim(reason string) *messages.Victim {
	return &messages.Victim{Model: r.Model, Bytes: r.Bytes, IdleMs: r.Idle.Milliseconds(), LoadMs: r.Load.Milliseconds(), Reason: reason}
}

// bound says what keeps it.
func (r resident) bound() string {
	if r.Pinned {
		return "pinned"
	}
	return "busy"
}

// policy says who goes first: less than zero when a goes before b.
type policy struct {
	name string
	rank func(a, b resident) int
}

// policies by the name that the configuration uses.
var policies = map[string]policy{
	"first_fit":  {"first_fit", func(a, b resident) int { return cmp.Compare(b.Held, a.Held) }},
	"lru":        {"lru", func(a, b resident) int { return cmp.Compare(b.Idle, a.Idle) }},
	"cost_aware": {"cost_aware", func(a, b resident) int { return cmp.Compare(a.worth(), b.worth()) }},
}

// worth is the reload cost weighed by how likely it is paid soon: a model idle for long is needed less, one that loads fast is
// missed less. It is GreedyDual's ratio (Young 1994; Cao and Irani 1997) without sizes, since the victim set is minimised
// afterwards.
func (r resident) worth() float64 {
	return (r.Load.Seconds() + 0.1) / (r.Idle.Seconds() + 1)
}

// rankedBy orders residents by a policy; equals by name, so that a decision can be repeated.
func rankedBy(p policy, rs []resident) []resident {
	out := slices.Clone(rs)
	slices.SortFunc(out, func(a, b resident) int { return cmp.Or(p.rank(a, b), cmp.Compare(a.Model, b.Model)) })
	return out
}

// chooseVictims finds the smallest set of residents, by the policy's order, whose memory together with free covers need. It never
// names a pinned one, one inside its minimum residency only when the others won't do, and a busy one only when the asker is overdue:
// it then drains, which lets its running requests end.
func chooseVictims(p policy, need, free uint64, rs []resident, overdue bool) (victims []resident, ok bool) {
	if need <= free {
		return nil, true
	}
	var settled, young, busy []resident
	for _, r := range rankedBy(p, rs) {
		switch {
		case r.Pinned || r.Bytes == 0 || r.Busy && (!overdue || !r.Ready):
		case r.Busy:
			busy = append(busy, r)
		case r.Young:
			young = append(young, r)
		default:
			settled = append(settled, r)
		}
	}
	sum := free
	for _, r := range slices.Concat(settled, young, busy) {
		victims = append(victims, r)
		if sum += r.Bytes; sum >= need {
			return spare(victims, sum-need), true
		}
	}
	return nil, false
}

// spare drops who isn't needed, the most valuable first: those that the policy named last.
func spare(victims []resident, surplus uint64) []resident {
	for i := len(victims) - 1; i >= 0; i-- {
		if b := victims[i].Bytes; b <= surplus {
			surplus -= b
			victims = slices.Delete(victims, i, i+1)
		}
	}
	return victims
}

// immovable says, in words and numbers, why the residents of a device don't make room.
func immovable(rs []resident) string {
	var busy, pinned int
	for _, r := range rs {
		switch {
		case r.Busy:
			busy++
		case r.Pinned:
			pinned++
		}
	}
	return fmt.Sprintf("%d resident, of which %d busy and %d pinned", len(rs), busy, pinned)
}
