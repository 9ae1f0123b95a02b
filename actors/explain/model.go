package explain

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"modelops/actors/model"
	"modelops/messages"
)

// explainModel says it of a model. A model without any fact is known by its declaration only.
func (r *reading) explainModel(p Present) *messages.Explanation {
	return &messages.Explanation{Subject: cmp.Or(r.question.Subject, short(r.model)), Kind: "model", Summary: r.modelSummary(p) + r.saidPins(p) + r.leaseOut() + r.answers(),
		Reasons: r.reasons(r.model), Weighed: r.weighed(), WouldChange: r.modelChanges(p)}
}

// leaseOut says of which memory it isn't known yet that it is free: a driver counts it for a moment after a worker's end, or doesn't answer.
func (r *reading) leaseOut() string { return returning(r.latest.model(r.model).Returning, "worker") }

func returning(leases []*messages.Placement, of string) string {
	var on []string
	for _, p := range leases {
		on = append(on, spots(p))
	}
	if len(on) == 0 {
		return ""
	}
	return fmt.Sprintf(" The lease of its former %s on %s stays until the memory is known to be free.", of, strings.Join(on, ", "))
}

// evicted tells whether it left to make room and was not wanted since.
func (r *reading) evicted() bool {
	return r.named != nil && r.left != nil && r.left.event.(*messages.ModelUnwanted).Placement != "" && (r.wanted == nil || r.left.after(r.wanted))
}

// weighed are the devices of the decision that made it what it is: its eviction, or its placement.
func (r *reading) weighed() []*messages.Weighed {
	if need, ok := r.neverFits(); ok {
		return r.latest.tooSmall(r.host(), need)
	}
	if need, ok := r.tooLarge(); ok {
		return r.latest.tooSmall(r.host(), need)
	}
	if r.evicted() && !resident(r.latest.model(r.model)) {
		if out := choiceOf(r.named).weighed(); len(out) > 0 {
			return out
		}
	}
	if out := choiceOf(r.last()).weighed(); len(out) > 0 {
		return out
	}
	return choiceOf(r.placed).weighed()
}

func (r *reading) modelSummary(p Present) string {
	m, name := r.latest.model(r.model), short(r.model)
	at := since(r.since, p.Now)
	if r.phase() != m.Phase {
		at = since(r.postponed.at, p.Now)
	}
	switch r.phase() {
	case model.Ready:
		return fmt.Sprintf("%s is ready on %s %s. %s%s", name, spots(m.Placement), at, r.placedBecause(), r.came())
	case model.Loading:
		return fmt.Sprintf("%s loads on %s %s. %s%s", name, spots(m.Placement), at, r.placedBecause(), r.came())
	case model.Placing:
		return fmt.Sprintf("%s waits for a place %s: %s.", name, at, r.waiting())
	case model.Waiting:
		return fmt.Sprintf("%s failed to load%s and waits for its next try, at %s: %s.", name, triesOf(m, p), moment(r.retryAt()), r.failure(p))
	case model.Failed:
		return fmt.Sprintf("%s failed to load%s and isn't tried again by itself: %s.", name, triesOf(m, p), r.failure(p))
	case model.FallingAsleep, model.Asleep:
		return fmt.Sprintf("%s is %s on %s %s: %s. %s", name, m.Phase, short(m.Placement.Gpu()), at, r.leaving, r.placedBecause())
	case model.Waking:
		return fmt.Sprintf("%s wakes up on %s %s: %s.", name, short(m.Placement.Gpu()), at, r.leaving)
	case model.Draining, model.Stopping:
		return fmt.Sprintf("%s is on its way out of %s %s: %s.", name, spots(m.Placement), at, cmp.Or(r.gone(), r.leaving))
	}
	need, tooLarge := r.tooLarge()
	switch {
	case m.Retired:
		return fmt.Sprintf("%s is retired: its declaration was withdrawn.", name)
	case tooLarge:
		return fmt.Sprintf("%s is absent, and a request for it is refused at once with %s: it needs %s, and no device here has so much.", name, messages.GPUUnavailable, mib(need))
	case r.left != nil:
		return fmt.Sprintf("%s is absent %s: %s.", name, at, r.gone())
	case r.exited != nil:
		return fmt.Sprintf("%s is absent %s: %s.", name, at, modelText(*r.exited))
	case !r.latest.knows(r.model):
		return name + " is absent: the journal holds nothing about it."
	}
	return name + " is absent: it has not been asked for since it was declared."
}

// placedBecause is why it is where it is.
func (r *reading) placedBecause() string {
	if r.placed == nil {
		return "The journal holds no placement of it."
	}
	e := r.placed.event.(*messages.PlacementDecided)
	c := choiceOf(r.placed)
	room := fmt.Sprintf("which had %s free", mib(free(c.chosen)))
	if c.chosen == nil {
		room = "whose sums weren't written down"
	} else if len(c.chosen.Victims) > 0 {
		room = fmt.Sprintf("which had %s free and where %s had to leave, cost %.3g", mib(free(c.chosen)), leavers(c.chosen.Victims), c.chosen.Cost)
	}
	if n := len(e.GetPlacement().GetShares()); n > 1 {
		room = fmt.Sprintf("each of which had room for a share of %s", mib(e.Placement.Shares[0].Bytes))
		if v := e.Placement.Victims; len(v) > 0 {
			room += ", once " + shorts(v) + " had left"
		}
	}
	out := fmt.Sprintf("Decision %s chose %s by %s, %s; it needs %s.", r.number(r.placed), spots(e.GetPlacement()), cmp.Or(e.Policy, "no policy"), room,
		needed(e.GetPlacement().Bytes(), e.Source.String()))
	if others := c.rejected(); others != "" {
		out += " Not taken: " + others + "."
	}
	if len(e.Moves) > 0 {
		out += " Of those that leave, " + movesOn(e.Moves) + "."
	}
	return out
}

func leavers(vs []*messages.Victim) string {
	out := make([]string, len(vs))
	for i, v := range vs {
		out[i] = figures(v)
	}
	return enumerate(out)
}

// came is why it is wanted.
func (r *reading) came() string {
	if r.wanted == nil {
		return ""
	}
	return fmt.Sprintf(" It is wanted because: %s (decision %s).", r.wanted.event.(*messages.ModelWanted).Reason, r.number(r.wanted))
}

// waiting is what a model without a place waits for.
func (r *reading) waiting() string {
	if r.last() == nil {
		return "nothing is decided yet"
	}
	switch e := r.last().event.(type) {
	case *messages.PlacementPostponed:
		return cmp.Or(e.Reason, "no reason was given")
	case *messages.PlacementDecided:
		if !r.open(e.GetPlacement()) {
			return "nothing is decided yet"
		}
		gpu := spots(e.GetPlacement())
		if len(e.GetPlacement().GetVictims()) > 0 {
			return fmt.Sprintf("decision %s chose %s, and %s must leave it first", r.number(r.last()), gpu, shorts(e.Placement.Victims))
		}
		return fmt.Sprintf("decision %s chose %s, and its memory is about to be reserved", r.number(r.last()), gpu)
	}
	return "nothing is decided yet"
}

// gone is why it left.
func (r *reading) gone() string {
	if r.left == nil {
		return ""
	}
	e := r.left.event.(*messages.ModelUnwanted)
	switch {
	case e.Placement == "":
		return fmt.Sprintf("decision %s unloaded it: %s", r.number(r.left), e.Reason)
	case r.named == nil:
		return fmt.Sprintf("it was evicted for %s by placement %s, whose decision isn't in the journal", short(e.EvictedFor), e.Placement)
	}
	switch d := r.named.event.(type) {
	case *messages.PlacementDecided:
		chosen := chosenOf(d.Candidates)
		s := fmt.Sprintf("decision %s evicted it from %s for %s, which needs %s where %s were free; it was the one to go by %s, at a cost of %.3g: %s", r.number(r.named),
			spots(d.GetPlacement()), short(d.GetPlacement().GetHolder()), needed(d.GetPlacement().Bytes(), d.Source.String()), mib(free(chosen)),
			d.Policy, chosen.GetCost(), victimLine(chosen.GetVictims(), r.model))
		if others := choiceOf(r.named).rejected(); others != "" {
			s += "; not taken: " + others
		}
		if m := moveOf(d, r.model); m != nil {
			s += "; it " + movesTo(m)
		}
		return s
	case *messages.PressureRelieved:
		return fmt.Sprintf("decision %s evicted it from %s to relieve the device (%s): %s", r.number(r.named), short(d.Gpu), d.Reason, victimLine(d.Victims, r.model))
	}
	return e.Reason
}

// failure is the last error, with the worker's last words where they can be read.
func (r *reading) failure(p Present) string {
	if r.failed == nil {
		return "no failure is in the journal"
	}
	e := r.failed.event.(*messages.LoadFailed).Error
	file := e.GetLogFile()
	s := saidError(e)
	if file == "" || p.LastWords == nil {
		return s
	}
	if words := strings.TrimSpace(p.LastWords(file)); words != "" {
		s += "; its worker's last words: " + words
	}
	return s
}

// triesOf counts the tries, and those that are left where that is known.
func triesOf(m model.State, p Present) string {
	switch {
	case m.Failures == 0:
		return ""
	case p.Tries == 0 || m.Failures > p.Tries:
		return fmt.Sprintf(" %d times in a row", m.Failures)
	case m.Phase == model.Failed && m.Failures < p.Tries:
		return fmt.Sprintf(" (try %d of %d; another would fail the same way)", m.Failures, p.Tries)
	}
	return fmt.Sprintf(" (try %d of %d, %d left)", m.Failures, p.Tries, p.Tries-m.Failures)
}

func idleLimit(s *messages.ModelSpec) (time.Duration, bool) {
	if s == nil || s.IdleMs == nil || *s.IdleMs < 0 {
		return 0, false
	}
	return time.Duration(*s.IdleMs) * time.Millisecond, true
}
