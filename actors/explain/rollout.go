package explain

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"modelops/actors/host"
	"modelops/messages"
)

// routed is a rollout with its models as actors.
type routed struct{ name, from, to string }

func routedOf(on messages.ActorID, name, from, to string) routed {
	return routed{name, messages.ModelActor(on.ID, from).String(), messages.ModelActor(on.ID, to).String()}
}

// routedOf is the rollout that a host's event is about; false for other events, and when a later rollout of the name took its place.
func (l *latest) routedOf(f fact) (routed, bool) {
	var id string
	switch e := f.event.(type) {
	case *messages.RolloutStarted:
		return routedOf(f.actor, e.Name, e.From, e.To), true
	case *messages.RouteDropped:
		return routed{name: e.Name, to: messages.ModelActor(f.actor.ID, e.To).String()}, true
	case *messages.RolloutCanaried:
		id = e.Id
	case *messages.RolloutPromoted:
		id = e.Id
	case *messages.RolloutRolledBack:
		id = e.Id
	default:
		return routed{}, false
	}
	s, _ := stateOf[host.State](l, f.actor.String())
	for _, w := range s.Rollouts {
		if w.ID == id {
			return routedOf(f.actor, w.Name, w.From, w.To), true
		}
	}
	return routed{}, false
}

// foldRollout notes which decision brought a name's rollout to its phase. The host's state has taken the event already.
func (l *latest) foldRollout(f fact) {
	x, ok := l.routedOf(f)
	if !ok {
		return
	}
	key := f.actor.ID + "/" + x.name
	r := l.rollouts[key]
	switch f.event.(type) {
	case *messages.RolloutPromoted:
		r.promoted, r.from = f.sequence, x.from
	case *messages.RouteDropped:
		return
	}
	r.step = f.sequence
	l.rollouts[key] = r
}

// routedNote says which models a rollout's event is about: it names the rollout only.
func (l *latest) routedNote(f fact) string {
	x, ok := l.routedOf(f)
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
		text := fmt.Sprintf("%s is to be answered by %s instead of %s", e.Name, e.To, e.From)
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
		return fmt.Sprintf("the configuration again decides which model answers %s: %s", e.Name, e.Reason)
	}
	return ""
}

// answers says which names the model answers, or doesn't, because of rollouts.
func (r *reading) answers() string {
	var out []string
	for _, s := range r.latest.hosts() {
		names := slices.Sorted(maps.Keys(s.Routes))
		names = append(names, slices.Sorted(maps.Keys(s.Rollouts))...)
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			out = append(out, r.answersName(s, name)...)
		}
	}
	if len(out) == 0 {
		return ""
	}
	return " " + strings.Join(out, " ")
}

func (r *reading) answersName(s host.State, name string) (out []string) {
	past := r.latest.rollouts[s.ID.ID+"/"+name]
	if route, ok := s.Routes[name]; ok {
		to := messages.ModelActor(s.ID.ID, route).String()
		switch r.model {
		case to:
			out = append(out, fmt.Sprintf("It answers %s, by a swap that decision %d promoted.", name, past.promoted))
		case past.from:
			out = append(out, fmt.Sprintf("%s is answered by %s instead, by a swap that decision %d promoted.", name, short(to), past.promoted))
		}
	}
	w := s.Rollouts[name]
	x := routedOf(s.ID, name, w.From, w.To)
	switch {
	case w.Phase == host.Trying && x.to == r.model:
		out = append(out, fmt.Sprintf("It is tried for %s since decision %d, beside %s.", name, past.step, short(x.from)))
	case w.Phase == host.Trying && x.from == r.model:
		out = append(out, fmt.Sprintf("%s is tried in its place for %s since decision %d.", short(x.to), name, past.step))
	case w.Phase == host.Preparing && x.to == r.model:
		out = append(out, fmt.Sprintf("It is to answer %s instead of %s (decision %d).", name, short(x.from), past.step))
	}
	return out
}
