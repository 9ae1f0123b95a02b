package goal

import (
	"cmp"
	"slices"
	"time"

	"modelops/messages"
)

// The policies of turns.
const (
	PriorityQueue = "priority_queue"
	RoundRobin    = "round_robin"
)

// Turns is the rule by which the goals of a host take turns. A turn lasts for a run at least.
//
// Under priority_queue those run that come first by priority, then by age; one that is not among them any more gives its turn up after its run.
//
// Under round_robin each turn is for one run while others wait. The goal is next whose wait since its last turn, times its weight, is the longest. The wait
// of one that isn't served grows without bound and that of others begins again with each turn, so that nobody starves; in the long run, each one's share of
// the turns is as its weight.
type Turns struct {
	Policy string
	// MaxActive is how many goals may be active at once; 0 = 1.
	MaxActive uint32
}

// Choice is what changes: which goals get their turn, and which give it up after their run, and for whom.
type Choice struct {
	Start []string
	Yield map[string]string
	// Again is when a schedule is due next; zero when nothing waits for one.
	Again time.Time
}

// Choose looks at all goals of a host.
func (t Turns) Choose(goals []*messages.GoalView, now time.Time) Choice {
	var active, waiting []*messages.GoalView
	out := Choice{Yield: map[string]string{}}
	for _, g := range goals {
		switch {
		case g.Phase == Active || g.Working:
			active = append(active, g)
		case g.Phase == Pending && !g.Deleted && g.DueMs > now.UnixMilli():
			if at := time.UnixMilli(g.DueMs); out.Again.IsZero() || at.Before(out.Again) {
				out.Again = at
			}
		case g.Phase == Pending && !g.Deleted:
			waiting = append(waiting, g)
		}
	}
	slices.SortFunc(waiting, t.order(now))
	room := int(max(t.MaxActive, 1)) - len(active)
	for len(waiting) > 0 && room > 0 {
		out.Start = append(out.Start, waiting[0].Id)
		waiting = waiting[1:]
		room--
	}
	t.yields(out.Yield, active, waiting)
	return out
}

// yields says who gives its turn up. The turns that end already are for those that wait first.
func (t Turns) yields(out map[string]string, active, waiting []*messages.GoalView) {
	var stay []*messages.GoalView
	for _, g := range active {
		if g.Phase == Active && g.YieldsTo == "" {
			stay = append(stay, g)
		} else if len(waiting) > 0 {
			waiting = waiting[1:]
		}
	}
	slices.SortFunc(stay, func(a, b *messages.GoalView) int { return -byPriority(a, b) }) // the last in the queue goes first
	for _, g := range stay {
		if len(waiting) == 0 || t.Policy != RoundRobin && byPriority(waiting[0], g) > 0 {
			return
		}
		out[g.Id] = waiting[0].Id
		if t.Policy == RoundRobin { // each of them competes again after its run
			continue
		}
		waiting = waiting[1:]
	}
}

func (t Turns) order(now time.Time) func(a, b *messages.GoalView) int {
	if t.Policy != RoundRobin {
		return byPriority
	}
	return func(a, b *messages.GoalView) int {
		return cmp.Or(cmp.Compare(wait(b, now), wait(a, now)), byPriority(a, b))
	}
}

// wait is how long a goal has waited since its last turn began, in milliseconds times its weight.
func wait(g *messages.GoalView, now time.Time) float64 {
	since := max(g.CreatedMs, g.DueMs)
	if len(g.Runs) > 0 {
		since = max(since, g.Runs[len(g.Runs)-1].BeganMs)
	}
	weight := g.Spec.GetWeight()
	if weight == 0 {
		weight = 1
	}
	return float64(max(now.UnixMilli()-since, 0)+1) * weight
}

// byPriority orders by priority, then age.
func byPriority(a, b *messages.GoalView) int {
	return cmp.Or(cmp.Compare(class(a), class(b)), cmp.Compare(a.CreatedMs, b.CreatedMs), cmp.Compare(a.Id, b.Id))
}

func class(g *messages.GoalView) int {
	if i := slices.Index(messages.GoalPriorities, g.Spec.GetPriority()); i >= 0 {
		return i
	}
	return slices.Index(messages.GoalPriorities, messages.DefaultGoalPriority)
}
