package host

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// State is one host's life so far.
type State struct {
	ID        messages.ActorID
	BootID    string
	Boots     uint64
	Version   string
	Revision  string
	Running   bool
	StartedMS int64
	// Draining tells that the host is being emptied: nothing is placed there, over restarts too, until that ends.
	Draining bool              `json:",omitempty"`
	GaveUp   map[string]string // actor -> why
	// Routes are the names that another model answers than the declarations say: name -> model.
	Routes map[string]string
	// Rollouts are the latest rollouts, by name.
	Rollouts map[string]Rollout
	// Losers are the models that lost a rollout and aren't unloaded yet, by the rollout's id.
	Losers map[string]Loser
}

// New is a host that never started.
func New(id messages.ActorID) State { return State{ID: id, GaveUp: map[string]string{}} }

// Evolve folds an event.
func Evolve(s State, event proto.Message, _ uint64) State {
	switch e := event.(messages.HostEvent).(type) {
	case *messages.HostStarted:
		s.BootID, s.Version, s.Revision = e.BootId, e.Version, e.ConfigRevision
		s.Running, s.StartedMS = true, e.At.AsTime().UnixMilli()
		s.Boots++
		s.GaveUp = map[string]string{} // at a new boot every actor is spawned again
	case *messages.HostStopped:
		s.Running = false
	case *messages.ConfigApplied:
		s.Revision = e.Revision
	case *messages.ActorGaveUp:
		s.GaveUp = with(s.GaveUp, e.Actor, e.Reason)
	case *messages.ActorRevived:
		s.GaveUp = without(s.GaveUp, e.Actor)
	case *messages.RolloutStarted:
		s = started(s, e)
	case *messages.RolloutCanaried:
		s = s.step(e.Id, Trying, "")
	case *messages.RolloutPromoted:
		s = promoted(s, e)
	case *messages.RolloutRolledBack:
		s = rolledBack(s, e)
	case *messages.RolloutSettled:
		s.Losers = without(s.Losers, e.Id)
	case *messages.HostDraining:
		s.Draining = true
	case *messages.HostDrainEnded:
		s.Draining = false
	case *messages.RouteDropped:
		s.Routes = without(s.Routes, e.Name)
	}
	return s
}

// with is m and one more entry. A state's maps are never written to: former states share them.
func with[V any](m map[string]V, key string, v V) map[string]V {
	next := map[string]V{}
	maps.Copy(next, m)
	next[key] = v
	return next
}

func without[V any](m map[string]V, key string) map[string]V {
	next := maps.Clone(m)
	delete(next, key)
	return next
}

// View is what is shown of the host.
func View(s State) proto.Message {
	v := &messages.HostView{Host: s.ID.ID, BootId: s.BootID, Boots: s.Boots, Version: s.Version, ConfigRevision: s.Revision,
		Running: s.Running, StartedMs: s.StartedMS, GaveUp: slices.Sorted(maps.Keys(s.GaveUp)), Routes: s.routes(), Draining: s.Draining}
	for _, name := range slices.Sorted(maps.Keys(s.Rollouts)) {
		v.Swaps = append(v.Swaps, s.Rollouts[name].reply())
	}
	return v
}
