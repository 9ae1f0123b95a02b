package clockwork

import (
	"context"

	"google.golang.org/protobuf/proto"

	"modelops/actors/arbiter"
	"modelops/messages"
)

// board shows the arbiter what the daemon's board shows.
type board struct{ w *World }

// Ledgers implements arbiter.Ledgers.
func (b board) Ledgers() []*messages.GpuView {
	var out []*messages.GpuView
	for _, v := range b.w.accounts {
		if v.CapacityBytes > 0 {
			out = append(out, v)
		}
	}
	return out
}

// Known implements arbiter.Ledgers.
func (b board) Known(_ context.Context, model string) (bytes uint64, kinds []string) {
	i := b.w.modelNamed(model)
	return b.w.o.Models[i].Estimate, []string{"cuda"}
}

// Residents implements arbiter.Ledgers: who holds or seeks memory now.
func (b board) Residents() []*messages.Resident {
	var out []*messages.Resident
	now := b.w.now().UnixMilli()
	for i, v := range b.w.views {
		l := b.w.lanes[i]
		m := proto.CloneOf(v)
		m.Active, m.Queued, m.IdleMs = uint32(len(l.running)), uint32(len(l.waiting)), l.idle().Milliseconds()
		if r := arbiter.ResidentOf(m, now); r != nil {
			out = append(out, r)
		}
	}
	return out
}
