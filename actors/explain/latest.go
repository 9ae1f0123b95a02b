package explain

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"modelops/actors/arbiter"
	"modelops/actors/entity"
	"modelops/actors/gpu"
	"modelops/actors/host"
	"modelops/actors/job"
	"modelops/actors/kinds"
	"modelops/actors/model"
	"modelops/messages"
)

// latest holds the state of every actor up to a decision, folded by the kinds' own Evolve.
type latest struct {
	actors   map[string]folded  // by actor
	rollouts map[string]rollout // by host and name
	arbiters map[string]any     // in united states, those of the hosts' arbiters by host; one of them is among the actors too
}

// folded is one actor. States are never written to after they are made, so copies share them.
type folded struct {
	fold  entity.Fold
	state any
}

// rollout is what the host's state doesn't keep of a name's rollouts, and explanations say.
type rollout struct {
	step     uint64 // the decision that brought the name's latest rollout to its phase
	promoted uint64 // the decision that promoted one last; 0 = none did
	from     string // the model that it replaced
}

func newLatest() *latest {
	return &latest{actors: map[string]folded{}, rollouts: map[string]rollout{}}
}

// clone is what a question keeps while the journal goes on.
func (l *latest) clone() *latest {
	return &latest{actors: maps.Clone(l.actors), rollouts: maps.Clone(l.rollouts)}
}

// fold takes a fact into the state of its actor. An event that the kind's Evolve can't take, which panics, leaves the state as it was: it ends
// its actor's recovery, and must not end the explanations of others.
func (l *latest) fold(f fact) {
	defer func() { _ = recover() }()
	name := f.actor.String()
	now, ok := l.actors[name]
	if !ok {
		fold, err := kinds.FoldOf(f.actor)
		if err != nil {
			return
		}
		now = folded{fold, fold.New(f.actor)}
	}
	now.state = now.fold.Evolve(now.state, f.event, f.sequence)
	l.actors[name] = now
	if f.actor.Kind == messages.KindHost {
		l.foldRollout(f)
	}
}

// stateOf is an actor's state; the zero state and false when it has none of this type.
func stateOf[S any](l *latest, actor string) (S, bool) {
	s, ok := l.actors[actor].state.(S)
	return s, ok
}

// model is what a model's journal says; an absent model when it says nothing.
func (l *latest) model(actor string) model.State {
	if s, ok := stateOf[model.State](l, actor); ok {
		return s
	}
	return model.State{Phase: model.Absent}
}

// phase is where a model or a job stands.
func (l *latest) phase(actor messages.ActorID) string {
	if s, ok := stateOf[job.State](l, actor.String()); ok {
		return s.Phase.String()
	}
	return l.model(actor.String()).Phase.String()
}

// knows tells whether a model ever decided anything.
func (l *latest) knows(actor string) bool {
	_, ok := stateOf[model.State](l, actor)
	return ok
}

func (l *latest) ledger(gpuActor string) gpu.State {
	s, _ := stateOf[gpu.State](l, gpuActor)
	return s
}

// devices are a host's devices that have a ledger, sorted; those of all hosts when it has no name.
func (l *latest) devices(host string) []string {
	var out []string
	for name := range l.actors {
		if s, ok := stateOf[gpu.State](l, name); ok && (host == "" || s.ID.Host() == host) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// placed is the holder of an open placement; empty when none of this id is open.
func (l *latest) placed(id string) string {
	for _, other := range l.arbiters {
		if s, _ := other.(arbiter.State); s.Open[id].Placement.GetHolder() != "" {
			return s.Open[id].Placement.GetHolder()
		}
	}
	s, _ := stateOf[arbiter.State](l, messages.ArbiterActor().String())
	return s.Open[id].Placement.GetHolder()
}

// waits tells whether the arbiter of a host told a model to wait, and hasn't placed it or seen it give up since.
func (l *latest) waits(host, model string) bool {
	s, ok := l.arbiters[host].(arbiter.State)
	if !ok {
		s, _ = stateOf[arbiter.State](l, messages.ArbiterActor().String())
	}
	for holder := range s.Postponed {
		if isHolder(holder, model) {
			return true
		}
	}
	return false
}

// resident tells whether a model has its place: from the start of a load until its worker is gone.
func resident(m model.State) bool { return m.Placement != nil }

// pinner is what keeps a model from eviction at a time; empty when nothing does.
func pinner(m model.State, at time.Time) string {
	switch {
	case m.Spec.GetPinned():
		return "its declaration"
	case m.PinnedBy != "" && (m.PinnedTill == 0 || at.UnixMilli() < m.PinnedTill):
		return m.PinnedBy
	}
	return ""
}

// usable is what a device has beside its margin, whatever the soft limit says.
func usable(s gpu.State) uint64 { return s.Capacity - min(s.Margin, s.Capacity) }

// held is a lease and where it is.
type held struct {
	id, gpu string
	gpu.Lease
}

// holders are a device's leases, the largest first.
func (l *latest) holders(device string) []held {
	var out []held
	for id, lease := range l.ledger(device).Leases {
		out = append(out, held{id, device, lease})
	}
	slices.SortFunc(out, func(a, b held) int { return cmp.Or(cmp.Compare(b.Holds(), a.Holds()), cmp.Compare(a.id, b.id)) })
	return out
}

// rivals are the ready models on a placement's device that weren't named as victims and weren't pinned.
func (l *latest) rivals(p *messages.Placement, at time.Time) []string {
	var out []string
	for _, h := range l.holders(p.Gpu()) {
		m := l.model(h.Holder)
		if m.Phase == model.Ready && pinner(m, at) == "" && h.Holder != p.GetHolder() && !slices.Contains(p.GetVictims(), h.Holder) {
			out = append(out, h.Holder)
		}
	}
	return out
}

// stayed says which holders stayed on a device when others had to leave it: the event names only the victims.
func (l *latest) stayed(p *messages.Placement, at time.Time) string {
	var stay []string
	for _, h := range l.holders(p.Gpu()) {
		if slices.Contains(p.Victims, h.Holder) || h.Holder == p.GetHolder() {
			continue
		}
		why := ""
		if by := pinner(l.model(h.Holder), at); by != "" {
			why = ", pinned by " + by
		}
		stay = append(stay, short(h.Holder)+" ("+mib(h.Holds())+why+")")
	}
	if len(stay) == 0 {
		return ""
	}
	return "there stayed " + strings.Join(stay, ", ")
}

// hosts are the hosts' states with their actors, sorted.
func (l *latest) hosts() []host.State {
	var out []host.State
	for _, name := range slices.Sorted(maps.Keys(l.actors)) {
		if s, ok := stateOf[host.State](l, name); ok {
			out = append(out, s)
		}
	}
	return out
}
