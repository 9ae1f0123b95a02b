package explain

import (
	"cmp"
	"fmt"
	"slices"

	"modelops/actors/model"
	"modelops/messages"
)

// most bounds the changes that are proposed.
const most = 12

// modelChanges is what would have to be otherwise for the model to be otherwise.
func (r *reading) modelChanges(p Present) []string {
	var out []string
	switch m := r.latest.model(r.model); r.phase() {
	case model.Ready, model.Loading:
		out = r.staying(m, p)
	case model.Placing:
		out = r.toBePlaced(p)
	case model.Failed, model.Waiting:
		out = r.toLoad(m, p)
	case model.FallingAsleep, model.Asleep, model.Waking:
		out = []string{"a request wakes it up where it is, when its device has room; else it is placed again", "another model that needs its memory may evict it; pin it to keep it"}
	case model.Draining, model.Stopping:
		out = r.toStay()
	default:
		out = r.toComeBack(m)
	}
	return clipped(append(r.unpins(p), out...))
}

func clipped(list []string) []string {
	var out []string
	for _, s := range list {
		if s != "" && !slices.Contains(out, s) && len(out) < most {
			out = append(out, s)
		}
	}
	return out
}

// staying is what would move or unload a model that has its place.
func (r *reading) staying(m model.State, p Present) []string {
	var out []string
	c := choiceOf(r.placed)
	for _, x := range c.candidates {
		gpu := c.device(x.GetGpu())
		switch {
		case x.GetNeedBytes() > x.GetLimitBytes():
			out = append(out, r.latest.raise(x.GetGpu(), gpu, x.GetNeedBytes()))
		case lacks(x) > 0:
			out = append(out, fmt.Sprintf("%s more free on %s then: %s", mib(lacks(x)), gpu, without(x)))
		}
	}
	if by := pinner(m, p.Now); by != "" {
		return append(out, fmt.Sprintf("unpin it: pinned by %s, it is never evicted", by))
	}
	if d, ok := idleLimit(m.Spec); ok {
		out = append(out, fmt.Sprintf("%s without a request: then it is unloaded (keep_alive)", span(d.Milliseconds())))
	}
	return append(out, "another model that needs its memory while it is idle would evict it; pin it to keep it")
}

// toBePlaced is what a model waits for.
func (r *reading) toBePlaced(p Present) []string {
	f := r.last()
	if f == nil {
		return nil
	}
	if e, ok := f.event.(*messages.PlacementDecided); ok {
		var out []string
		for _, v := range e.GetPlacement().GetVictims() {
			if resident(r.latest.model(v)) {
				out = append(out, fmt.Sprintf("%s to finish its requests and leave %s", short(v), spots(e.Placement)))
			}
		}
		return out
	}
	c := choiceOf(f)
	if len(c.candidates) == 0 {
		return []string{"one of the running loads to end", "a higher load.max_concurrent"}
	}
	var out []string
	for _, x := range c.candidates {
		out = append(out, r.latest.room(x, c.device(x.GetGpu()), r.model, p)...)
	}
	if c.waits != "" && slices.ContainsFunc(c.candidates, func(x *messages.Candidate) bool { return x.GetRefusal() == "" }) {
		out = append(out, "its turn: "+c.waits)
	}
	return out
}

// room is what would make a model fit a device that refused it.
func (l *latest) room(x *messages.Candidate, gpu, asked string, p Present) []string {
	switch {
	case x.GetRefusal() == "":
		return nil
	case l.ledger(x.GetGpu()).Lost:
		return []string{fmt.Sprintf("%s to come back; it is lost: %s", gpu, cmp.Or(l.ledger(x.GetGpu()).LostReason, "no reason was given"))}
	case x.GetNeedBytes() > x.GetLimitBytes():
		return []string{l.raise(x.GetGpu(), gpu, x.GetNeedBytes())}
	case lacks(x) == 0:
		return []string{fmt.Sprintf("what keeps it from %s to end: %s", gpu, x.GetRefusal())}
	}
	out := []string{fmt.Sprintf("%s more free on %s", mib(lacks(x)), gpu)}
	if x.GetForeignBytes() >= lacks(x) {
		out = append(out, fmt.Sprintf("programs that aren't ours to give back %s of the %s they use on %s", mib(lacks(x)), mib(x.GetForeignBytes()), gpu))
	}
	for _, h := range l.holders(x.GetGpu()) {
		if h.Holder != asked {
			out = append(out, l.wayOut(h, p))
		}
	}
	return out
}

// wayOut is how the holder of a lease would leave.
func (l *latest) wayOut(h held, p Present) string {
	m, gpu := l.model(h.Holder), short(h.gpu)
	switch {
	case !l.knows(h.Holder):
		return fmt.Sprintf("the end of lease %s: %s holds %s of %s", h.id, h.Holder, mib(h.Holds()), gpu)
	case pinner(m, p.Now) != "":
		return fmt.Sprintf("unpin %s: it holds %s of %s, pinned by %s", short(h.Holder), mib(h.Holds()), gpu, pinner(m, p.Now))
	case m.Phase == model.Asleep:
		return fmt.Sprintf("%s to leave: it sleeps and holds %s of %s", short(h.Holder), mib(h.Holds()), gpu)
	case m.Phase == model.Ready:
		return fmt.Sprintf("%s idle: it holds %s of %s, and a busy model is not evicted", short(h.Holder), mib(h.Holds()), gpu)
	}
	return fmt.Sprintf("%s to be through: it holds %s of %s and is %s", short(h.Holder), mib(h.Holds()), gpu, m.Phase)
}

// raise says which limit of a device, which is named so, would have to be higher for a need, or that none helps.
func (l *latest) raise(gpu, name string, need uint64) string {
	s := l.ledger(gpu)
	switch {
	case s.Capacity == 0:
		return fmt.Sprintf("a need of less than the limit of %s", name)
	case need <= usable(s):
		return fmt.Sprintf("raise resources.vram_soft_limit_mb to at least %d: %s has %s, and the limit is %s", (need+messages.MiB-1)/messages.MiB, name, mib(s.Capacity), mib(s.Limit()))
	}
	return fmt.Sprintf("a larger device than %s: of its %s, %s can be used at most, and %s are needed", name, mib(s.Capacity), mib(usable(s)), mib(need))
}

// toStay is what would have kept an evicted model where it was.
func (r *reading) toStay() []string {
	if r.left == nil || r.named == nil || r.left.event.(*messages.ModelUnwanted).Placement == "" {
		return nil
	}
	pin := "pin it: a pinned model is never evicted"
	e, ok := r.named.event.(*messages.PlacementDecided)
	if !ok {
		return []string{pin, "a use of its device below the threshold (resources.eviction_threshold_pct)"}
	}
	gpu, chosen := spots(e.GetPlacement()), chosenOf(e.Candidates)
	out := []string{pin}
	if n := lacks(chosen); n > 0 {
		out = append([]string{fmt.Sprintf("%s more free on %s then: no model would have had to leave", mib(n), gpu)}, out...)
	}
	for _, other := range r.stayed {
		out = append(out, fmt.Sprintf("%s %s: then that would have left %s instead", short(other), sooner(e.Policy), gpu))
	}
	for _, x := range e.Candidates {
		if !x.GetChosen() && x.GetRefusal() == "" && len(x.GetVictims()) > 0 {
			out = append(out, fmt.Sprintf("%s %s: then %s would have been chosen (cost %.3g against %.3g)", shorts(modelsOf(x.Victims)), sooner(e.Policy),
				choiceOf(r.named).device(x.GetGpu()), x.GetCost(), chosen.GetCost()))
		}
	}
	if m := r.latest.model(r.model); m.Spec.GetMinResidencySeconds() == 0 {
		out = append(out, "a min_residency: while it lasts, others go first")
	}
	return out
}

// sooner is what makes a model go before others by a policy.
func sooner(policy string) string {
	switch policy {
	case "first_fit":
		return "resident for longer"
	case "lru":
		return "idle for longer"
	}
	return "idle for longer, or faster to load again"
}

// toComeBack is what brings an absent model back.
func (r *reading) toComeBack(m model.State) []string {
	if need, ok := r.tooLarge(); ok {
		return r.latest.toFit(r.host(), need)
	}
	out := r.toStay()
	if m.Retired || !r.latest.knows(r.model) {
		return append(out, "declare it again: in the configuration, or modelops load NAME --path FILE")
	}
	return append(out, "ask for it: a request or modelops load "+short(r.model)+" makes it resident again when there is room")
}
