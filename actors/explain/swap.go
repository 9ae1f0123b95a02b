package explain

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"modelops/messages"
)

// exchange is a swap: which model shall answer a name instead of which.
type exchange struct {
	name, from, to string // models as actors
	phase          string // preparing, trying, promoted or rolled back
	sequence       uint64 // of the decision that brought it to its phase
	declared       bool   // the new model is the one that the declarations say
}

// foldHost follows who answers which name.
func (h house) foldHost(f fact) {
	model := func(name string) string { return messages.ModelActor(f.actor.ID, name).String() }
	step := func(id, phase string) {
		if x, ok := h.swaps[id]; ok {
			x.phase, x.sequence = phase, f.sequence
			h.swaps[id] = x
		}
	}
	switch e := f.event.(type) {
	case *messages.RolloutStarted:
		for id, x := range h.swaps { // the latest of a name says all
			if x.name == e.Name && x.phase != "promoted" {
				delete(h.swaps, id)
			}
		}
		h.swaps[e.Id] = exchange{name: e.Name, from: model(e.From), to: model(e.To), phase: "preparing", sequence: f.sequence, declared: e.To == e.Declared}
	case *messages.RolloutCanaried:
		step(e.Id, "trying")
	case *messages.RolloutPromoted:
		for id, x := range h.swaps { // who answered before is no more than its loser
			if id != e.Id && x.name == h.swaps[e.Id].name {
				delete(h.swaps, id)
			}
		}
		step(e.Id, "promoted")
	case *messages.RolloutRolledBack:
		step(e.Id, "rolled back")
	case *messages.RouteDropped:
		maps.DeleteFunc(h.swaps, func(_ string, x exchange) bool { return x.name == e.Name && x.phase == "promoted" })
	}
}

// swapOf is the swap that a host's event is about.
func (h house) swapOf(f fact) (exchange, bool) {
	var id string
	switch e := f.event.(type) {
	case *messages.RolloutStarted:
		return exchange{name: e.Name, from: messages.ModelActor(f.actor.ID, e.From).String(), to: messages.ModelActor(f.actor.ID, e.To).String()}, true
	case *messages.RouteDropped:
		return exchange{name: e.Name, to: messages.ModelActor(f.actor.ID, e.To).String()}, true
	case *messages.RolloutCanaried:
		id = e.Id
	case *messages.RolloutPromoted:
		id = e.Id
	case *messages.RolloutRolledBack:
		id = e.Id
	default:
		return exchange{}, false
	}
	x, ok := h.swaps[id]
	return x, ok
}

// swapNote says of whom a swap's event speaks: it names the swap only.
func (h house) swapNote(f fact) string {
	x, ok := h.swapOf(f)
	if !ok {
		return ""
	}
	switch f.event.(type) {
	case *messages.RolloutCanaried:
		return fmt.Sprintf("%s is tried for %s, and %s stays ready", short(x.to), x.name, short(x.from))
	case *messages.RolloutPromoted:
		return fmt.Sprintf("%s is answered by %s and no more by %s", x.name, short(x.to), short(x.from))
	case *messages.RolloutRolledBack:
		return fmt.Sprintf("%s is answered by %s and not by %s", x.name, short(x.from), short(x.to))
	}
	return ""
}

func hostText(f fact) string {
	switch e := f.event.(type) {
	case *messages.RolloutStarted:
		text := fmt.Sprintf("%s shall be answered by %s instead of %s", e.Name, e.To, e.From)
		if e.Undoes != "" {
			return text + ", to take back what was swapped, as soon as it is ready"
		}
		share := "all requests"
		if e.CanaryPct > 0 {
			share = fmt.Sprintf("%d %% of the requests", e.CanaryPct)
		}
		return fmt.Sprintf("%s: once it is ready it is tried with %s, %d of them or %d s, of which %d %% may fail", text, share, e.MinRequests, e.JudgeSeconds, e.MaxErrorPct)
	case *messages.RolloutCanaried:
		return "the new model is ready"
	case *messages.RolloutPromoted:
		return "promoted: " + e.Reason
	case *messages.RolloutRolledBack:
		return "rolled back: " + e.Reason
	case *messages.RouteDropped:
		return fmt.Sprintf("the declarations say again who answers %s: %s", e.Name, e.Reason)
	}
	return ""
}

// answers says which names the model answers, or doesn't, because of swaps.
func (r *Reading) answers() string {
	var out []string
	for _, id := range slices.SortedFunc(maps.Keys(r.house.swaps), func(a, b string) int { return strings.Compare(r.house.swaps[a].name+a, r.house.swaps[b].name+b) }) {
		x := r.house.swaps[id]
		switch {
		case x.phase == "promoted" && x.to == r.model && !x.declared:
			out = append(out, fmt.Sprintf("It answers %s, by a swap that decision %d promoted.", x.name, x.sequence))
		case x.phase == "promoted" && x.from == r.model && !x.declared:
			out = append(out, fmt.Sprintf("%s is answered by %s instead, by a swap that decision %d promoted.", x.name, short(x.to), x.sequence))
		case x.phase == "trying" && x.to == r.model:
			out = append(out, fmt.Sprintf("It is tried for %s since decision %d, beside %s.", x.name, x.sequence, short(x.from)))
		case x.phase == "preparing" && x.to == r.model:
			out = append(out, fmt.Sprintf("It shall answer %s instead of %s (decision %d).", x.name, short(x.from), x.sequence))
		case x.phase == "trying" && x.from == r.model:
			out = append(out, fmt.Sprintf("%s is tried in its place for %s since decision %d.", short(x.to), x.name, x.sequence))
		}
	}
	if len(out) == 0 {
		return ""
	}
	return " " + strings.Join(out, " ")
}
