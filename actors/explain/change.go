package explain

import (
	"fmt"
	"slices"

	"modelops/messages"
)

// most bounds the changes that are proposed: nobody reads more.
const most = 12

// modelChanges is what would have to be otherwise for the model to be otherwise.
func (r *Reading) modelChanges(p Present) []string {
	var out []string
	switch m := r.house.model(r.model); m.phase {
	case messages.ModelView_ready, messages.ModelView_loading:
		out = r.staying(m, p)
	case messages.ModelView_placing:
		out = r.toBePlaced(p)
	case messages.ModelView_failed, messages.ModelView_waiting:
		out = r.toLoad(m, p)
	case messages.ModelView_falling_asleep, messages.ModelView_asleep, messages.ModelView_waking:
		out = []string{"a request wakes it up where it is, when its device has room; else it is placed anew", "another model that needs its memory may evict it; pin it to keep it"}
	case messages.ModelView_draining, messages.ModelView_stopping:
		out = r.toStay()
	default:
		out = r.toComeBack(m)
	}
	return clipped(out)
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
func (r *Reading) staying(m *residency, p Present) []string {
	var out []string
	c := choiceOf(r.placed)
	for _, x := range c.candidates {
		gpu := short(x.GetGpu())
		switch {
		case x.GetNeedBytes() > x.GetLimitBytes():
			out = append(out, r.house.raise(x.GetGpu(), x.GetNeedBytes()))
		case lacks(x) > 0:
			out = append(out, fmt.Sprintf("%s more free on %s then: %s", mib(lacks(x)), gpu, without(x)))
		}
	}
	if by := m.pinner(p.Now); by != "" {
		return append(out, fmt.Sprintf("unpin it: pinned by %s, it is never evicted", by))
	}
	if d, ok := idleLimit(m.spec); ok {
		out = append(out, fmt.Sprintf("%s without a request: then it is unloaded (keep_alive)", span(d.Milliseconds())))
	}
	return append(out, "another model that needs its memory while it is idle would evict it; pin it to keep it")
}

// toBePlaced is what a model waits for.
func (r *Reading) toBePlaced(p Present) []string {
	f := r.last()
	if f == nil {
		return nil
	}
	if e, ok := f.event.(*messages.PlacementDecided); ok {
		var out []string
		for _, v := range e.GetPlacement().GetVictims() {
			if r.house.model(v).resident() {
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
		out = append(out, r.house.room(x, r.model, p)...)
	}
	if c.waits != "" && slices.ContainsFunc(c.candidates, func(x *messages.Candidate) bool { return x.GetRefusal() == "" }) {
		out = append(out, "its turn: "+c.waits)
	}
	return out
}

// room is what would make a model fit a device that refused it.
func (h house) room(x *messages.Candidate, model string, p Present) []string {
	gpu := short(x.GetGpu())
	switch {
	case x.GetRefusal() == "":
		return nil
	case h.ledgerOf(x.GetGpu()).lost != "":
		return []string{fmt.Sprintf("%s to come back; it is lost: %s", gpu, h.ledgerOf(x.GetGpu()).lost)}
	case x.GetNeedBytes() > x.GetLimitBytes():
		return []string{h.raise(x.GetGpu(), x.GetNeedBytes())}
	case lacks(x) == 0:
		return []string{fmt.Sprintf("what keeps it from %s to end: %s", gpu, x.GetRefusal())}
	}
	out := []string{fmt.Sprintf("%s more free on %s", mib(lacks(x)), gpu)}
	if x.GetForeignBytes() >= lacks(x) {
		out = append(out, fmt.Sprintf("programs that aren't ours to give back %s of the %s they use on %s", mib(lacks(x)), mib(x.GetForeignBytes()), gpu))
	}
	for _, l := range h.holders(x.GetGpu()) {
		if l.holder != model {
			out = append(out, h.wayOut(l, p))
		}
	}
	return out
}

// wayOut is how the holder of a lease would leave.
func (h house) wayOut(l lease, p Present) string {
	m, gpu := h.model(l.holder), short(l.gpu)
	switch {
	case m == nobody:
		return fmt.Sprintf("the end of lease %s: %s holds %s of %s", l.id, l.holder, mib(l.holds()), gpu)
	case m.pinner(p.Now) != "":
		return fmt.Sprintf("unpin %s: it holds %s of %s, pinned by %s", short(l.holder), mib(l.holds()), gpu, m.pinner(p.Now))
	case m.phase == messages.ModelView_asleep:
		return fmt.Sprintf("%s to leave: it sleeps and holds %s of %s", short(l.holder), mib(l.holds()), gpu)
	case m.phase == messages.ModelView_ready:
		return fmt.Sprintf("%s idle: it holds %s of %s, and a busy model is not evicted", short(l.holder), mib(l.holds()), gpu)
	}
	return fmt.Sprintf("%s to be through: it holds %s of %s and is %s", short(l.holder), mib(l.holds()), gpu, m.phase)
}

// raise says which limit would have to be higher for a need, or that none helps.
func (h house) raise(gpu string, need uint64) string {
	l := h.ledgerOf(gpu)
	switch {
	case l.capacity == 0:
		return fmt.Sprintf("a need of less than the limit of %s", short(gpu))
	case need <= l.usable():
		return fmt.Sprintf("raise resources.vram_soft_limit_mb to at least %d: %s has %s, and the limit is %s", (need+messages.MiB-1)/messages.MiB, short(gpu), mib(l.capacity), mib(l.limit()))
	}
	return fmt.Sprintf("a larger device than %s: of its %s, %s can be used at most, and %s are needed", short(gpu), mib(l.capacity), mib(l.usable()), mib(need))
}

// toStay is what would have kept an evicted model where it was.
func (r *Reading) toStay() []string {
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
		out = append([]string{fmt.Sprintf("%s more free on %s then: nobody would have had to leave", mib(n), gpu)}, out...)
	}
	for _, other := range r.stayed {
		out = append(out, fmt.Sprintf("%s %s: then that would have left %s instead", short(other), sooner(e.Policy), gpu))
	}
	for _, x := range e.Candidates {
		if !x.GetChosen() && x.GetRefusal() == "" && len(x.GetVictims()) > 0 {
			out = append(out, fmt.Sprintf("%s %s: then %s would have been chosen (cost %.3g against %.3g)", shorts(modelsOf(x.Victims)), sooner(e.Policy),
				short(x.GetGpu()), x.GetCost(), chosen.GetCost()))
		}
	}
	if m := r.house.model(r.model); m.spec.GetMinResidencySeconds() == 0 {
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
func (r *Reading) toComeBack(m *residency) []string {
	out := r.toStay()
	if m.retired || m == nobody {
		return append(out, "declare it again: in the configuration, or modelops load NAME --path FILE")
	}
	return append(out, "ask for it: a request or modelops load "+short(r.model)+" makes it resident again when there is room")
}
