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
	GaveUp    map[string]string // actor -> why
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
		s.GaveUp = map[string]string{} // a new boot tries everything anew
	case *messages.HostStopped:
		s.Running = false
	case *messages.ConfigApplied:
		s.Revision = e.Revision
	case *messages.ActorGaveUp:
		s.GaveUp = maps.Clone(s.GaveUp)
		s.GaveUp[e.Actor] = e.Reason
	case *messages.ActorRevived:
		s.GaveUp = maps.Clone(s.GaveUp)
		delete(s.GaveUp, e.Actor)
	}
	return s
}

// View is the host as others see it.
func View(s State) proto.Message {
	return &messages.HostView{Host: s.ID.ID, BootId: s.BootID, Boots: s.Boots, Version: s.Version, ConfigRevision: s.Revision,
		Running: s.Running, StartedMs: s.StartedMS, GaveUp: slices.Sorted(maps.Keys(s.GaveUp))}
}
