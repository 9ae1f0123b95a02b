package explain

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"modelops/actors/arbiter"
	"modelops/actors/gpu"
	"modelops/actors/model"
	"modelops/messages"
)

// heldByPins is the refusal that requests for a model without a place get while pins keep it from one; nil when there is none. Nothing of that is
// journaled, it follows from the declarations, the pins and the ledgers.
func (r *reading) heldByPins(p Present) *messages.Error {
	m := r.latest.model(r.model)
	id, err := messages.ParseActorID(r.model)
	if err != nil || m.Spec == nil || m.Retired || resident(m) {
		return nil
	}
	if _, replica := messages.ReplicaOf(id.Name()); replica {
		return nil
	}
	seen := &messages.SchedulerReadings{}
	var views []*messages.ModelView
	for _, actor := range slices.Sorted(maps.Keys(r.latest.actors)) {
		switch s := r.latest.actors[actor].state.(type) {
		case gpu.State:
			seen.Ledgers = append(seen.Ledgers, gpu.View(s).(*messages.GpuView))
		case model.State:
			views = append(views, model.View(s).(*messages.ModelView))
		}
	}
	now := p.Now.UnixMilli()
	seen.Allocations = arbiter.AllocationsOf(views, now)
	need := &messages.Need{Host: id.Host(), Bytes: cmp.Or(model.View(m).(*messages.ModelView).RememberedBytes, m.Spec.GetVramBytes()),
		Kinds: model.RunsOn(m.Spec), Shards: model.ShardsOf(m.Spec)}
	return arbiter.HeldByPins(&messages.RequestPlacement{Holder: messages.ModelActor(messages.AnyHost, id.Name()).String(),
		Claim: &messages.Claim{Id: messages.ByName, Needs: []*messages.Need{need}, Groups: m.Spec.GetGroups()}}, seen, now)
}

// saidPins is what pins mean for those who ask for the model.
func (r *reading) saidPins(p Present) string {
	e := r.heldByPins(p)
	switch {
	case e == nil:
		return ""
	case e.Retry > 0:
		return " A request that can't wait until " + moment(p.Now.Add(e.Retry)) + " is refused at once with " + e.Code.String() + ": " + e.Message + "."
	}
	return " A request for it is refused at once with " + e.Code.String() + ": " + e.Message + "."
}

// unpins is what would end the pins that keep it from a place.
func (r *reading) unpins(p Present) []string {
	if e := r.heldByPins(p); e != nil {
		return strings.Split(e.Hint, ", ")
	}
	return nil
}
