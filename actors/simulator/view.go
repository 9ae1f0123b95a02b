package simulator

import (
	"context"

	"google.golang.org/protobuf/proto"

	"modelops/actors/arbiter"
	"modelops/messages"
)

// view shows the arbiter what the daemon's view shows.
type view struct{ w *World }

// Ledgers implements arbiter.Ledgers.
func (b view) Ledgers() []*messages.GpuView {
	var out []*messages.GpuView
	for _, v := range b.w.accounts {
		if v.CapacityBytes > 0 {
			out = append(out, v)
		}
	}
	return out
}

// Known implements arbiter.Ledgers.
func (b view) Known(_ context.Context, model string) (bytes uint64, kinds []string, shards uint32) {
	m := b.w.declared(b.w.modelNamed(model))
	return m.Estimate, []string{"cuda"}, uint32(m.Shards)
}

// Allocations implements arbiter.World: what holds or seeks memory now.
func (b view) Allocations() []*messages.Allocation {
	var live []*messages.ModelView
	for i, v := range b.w.views {
		f := b.w.frontOf(i)
		m := proto.CloneOf(v)
		m.Active, m.IdleMs = uint32(b.w.runningAt(i)), f.pool.Idle(f.now()).Milliseconds()
		if i == f.model {
			m.Queued = uint32(f.pool.Waiting())
		}
		live = append(live, m)
	}
	return arbiter.AllocationsOf(live, b.w.now().UnixMilli())
}
