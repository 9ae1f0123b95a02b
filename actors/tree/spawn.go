package tree

import (
	"slices"

	"github.com/asynkron/protoactor-go/actor"

	"modelops/actors/entity"
	"modelops/messages"
)

// Maker makes the actors of one kind.
type Maker struct {
	Kind  string
	Props func(messages.ActorID) *actor.Props
}

// Journaled makes the actors of a kind that keeps a journal.
func Journaled[S any](kind entity.Kind[S], o entity.Options) Maker {
	return Maker{kind.Name, func(id messages.ActorID) *actor.Props { return entity.Props(kind, id, o) }}
}

// Spawn makes actors of the given kinds on a host. An actor whose name holds a host is made there only.
func Spawn(host string, makers ...Maker) Spawner {
	single := map[string]bool{}
	for _, k := range messages.Kinds() {
		single[k.Name] = k.Identity == messages.Identity_SINGLE
	}
	return func(id messages.ActorID) (*actor.Props, bool) {
		i := slices.IndexFunc(makers, func(m Maker) bool { return m.Kind == id.Kind })
		if i < 0 || !single[id.Kind] && id.Host() != host || id.Kind == messages.KindGateway && id.ID != host {
			return nil, false
		}
		return makers[i].Props(id), true
	}
}
