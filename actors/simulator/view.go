package simulator

import (
	"google.golang.org/protobuf/proto"

	"modelops/actors/arbiter"
	"modelops/messages"
)

// view shows the arbiter what the daemon's view shows.
type view struct{ w *World }

// readings is what the arbiter sees.
func (w *World) readings() arbiter.World {
	if w.far == nil {
		return view{w}
	}
	return clustered{view{w}}
}

// Ledgers implements arbiter.World.
func (b view) Ledgers() []*messages.GpuView {
	var out []*messages.GpuView
	for _, v := range b.w.accounts {
		if v.CapacityBytes > 0 {
			out = append(out, v)
		}
	}
	for _, r := range b.w.far.reports(false) {
		out = append(out, r.gpus...)
	}
	return out
}

// GPUs implements control.Views.
func (b view) GPUs() []*messages.GpuView { return b.Ledgers() }

// GPU implements gpu.Views.
func (b view) GPU(id messages.ActorID) *messages.GpuView {
	return b.w.accounts[b.w.deviceOf(id.String())]
}

// SetReading implements gpu.Views: no person looks.
func (view) SetReading(messages.ActorID, *messages.DeviceReading) {}

// ModelsOf implements gpu.Views.
func (b view) ModelsOf(host string) (out []*messages.ModelView) {
	for i, v := range b.w.views {
		if b.w.models[i].id.Host() == host {
			out = append(out, v)
		}
	}
	return out
}

// Models implements control.Views.
func (b view) Models() []*messages.ModelView {
	out := b.w.views
	for _, r := range b.w.far.reports(false) {
		out = append(out[:len(out):len(out)], r.models...)
	}
	return out
}

// Allocations implements arbiter.World: what holds or seeks memory now, and the names that requests wait for.
func (b view) Allocations() []*messages.Allocation {
	out := b.own()
	if b.w.far != nil {
		out = append(out, b.w.far.allocations()...)
	}
	arbiter.Elsewhere(out, b.Models(), nil)
	return out
}

// own are the allocations of this coordinator's actors and callers.
func (b view) own() []*messages.Allocation {
	out := append(arbiter.AllocationsOf(b.live(), b.w.now().UnixMilli()), b.jobAllocations()...)
	for _, f := range b.w.fronts {
		if waited, seeks := f.pool.Seeking(f.now()); seeks {
			out = append(out, &messages.Allocation{Holder: messages.ModelActor(messages.AnyHost, f.pool.Name()).String(), State: messages.Allocation_seeking,
				WaitedMs: waited.Milliseconds(), Queued: uint32(f.pool.Waiting())})
		}
	}
	return out
}

// live are the views of this coordinator's models with what runs and waits now.
func (b view) live() (out []*messages.ModelView) {
	for i, v := range b.w.views {
		f := b.w.frontOf(i)
		m := proto.CloneOf(v)
		m.Active, m.IdleMs = uint32(b.w.runningAt(i)), f.pool.Idle(f.now()).Milliseconds()
		if i == f.model { // waiting requests are shown at one host's actor
			m.Queued = uint32(f.pool.Waiting())
		}
		out = append(out, m)
	}
	return out
}

// Changed implements control.Views; nothing in the simulator waits for a change.
func (view) Changed() <-chan struct{} { return nil }
