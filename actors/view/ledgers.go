package view

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/arbiter"
	"modelops/actors/model"
	"modelops/messages"
)

// Ledgers is what the scheduler sees of the world; it implements arbiter.World.
type Ledgers struct {
	View *Projection
	// Live lists the models with what runs and waits at each, as the gateway knows it.
	Live func() []*messages.ModelView
	// Estimate is what a model's files suggest of its need, in bytes; 0 when they say nothing.
	Estimate func(context.Context, *messages.ModelSpec) (uint64, error)
	Now      func() time.Time
}

// Ledgers implements arbiter.World.
func (l Ledgers) Ledgers() []*messages.GpuView { return l.View.GPUs() }

// Allocations implements arbiter.World: what holds or seeks memory now.
func (l Ledgers) Allocations() []*messages.Allocation {
	return arbiter.AllocationsOf(l.Models(), l.Now().UnixMilli())
}

// Models are the present models as their last decisions left them, with what runs and waits at each as the gateway sees it. The gateway
// hears of decisions a moment later: by its views a load that has just begun would not count, and one too many could begin beside it.
func (l Ledgers) Models() []*messages.ModelView {
	live := map[string]*messages.ModelView{}
	for _, v := range l.Live() {
		live[v.Id] = v
	}
	out := l.View.Present()
	for i, v := range out {
		if at := live[v.Id]; at != nil {
			v = proto.CloneOf(v)
			v.Active, v.Queued, v.IdleMs, v.Breaker = at.Active, at.Queued, at.IdleMs, at.Breaker
			out[i] = v
		}
	}
	return out
}

// Known implements arbiter.Ledgers: what was measured beats what was declared, and that beats what the files suggest.
func (l Ledgers) Known(ctx context.Context, name string) (bytes uint64, kinds []string, shards uint32) {
	id, err := messages.ParseActorID(name)
	if err != nil {
		return 0, nil, 0
	}
	m := l.View.Model(id)
	if m.GetSpec() == nil {
		return 0, nil, 0
	}
	kinds = model.RunsOn(m.Spec)
	for _, measured := range m.Footprints {
		bytes = max(bytes, measured)
	}
	if bytes == 0 {
		bytes, _ = l.Estimate(ctx, m.Spec) // a file that can't be read says nothing
	}
	return bytes, kinds, model.ShardsOf(m.Spec)
}
