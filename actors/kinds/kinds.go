package kinds

import (
	"slices"

	"modelops/actors/arbiter"
	"modelops/actors/entity"
	"modelops/actors/goal"
	"modelops/actors/gpu"
	"modelops/actors/host"
	"modelops/actors/job"
	"modelops/actors/lineage"
	"modelops/actors/model"
	"modelops/messages"
)

// registered holds every kind that keeps a journal.
var registered = []entity.Fold{
	entity.FoldOf(host.Kind(host.World{})),
	entity.FoldOf(gpu.Kind(nil, nil)),
	entity.FoldOf(model.Kind(model.Rules{}, model.World{})),
	entity.FoldOf(job.Kind(job.Rules{}, job.World{})),
	entity.FoldOf(goal.Kind(goal.World{})),
	entity.FoldOf(lineage.Kind(lineage.Rules{}, lineage.World{})),
	entity.FoldOf(arbiter.Kind(arbiter.Rules{}, nil, nil)),
}

// All lists the kinds that keep a journal.
func All() []entity.Fold { return slices.Clone(registered) }

// FoldOf finds the fold of an actor's kind. messages.InvalidArgument: that kind keeps no journal.
func FoldOf(id messages.ActorID) (entity.Fold, error) {
	for _, f := range registered {
		if f.Name == id.Kind {
			return f, nil
		}
	}
	return entity.Fold{}, messages.Errorf(messages.InvalidArgument, id.String(), "a %s keeps no journal, so it has no past", id.Kind)
}
