package clockwork

import "modelops/messages"

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

// Residents implements arbiter.Ledgers: who holds or seeks memory now.
func (b board) Residents() []*messages.Resident {
	var out []*messages.Resident
	now := b.w.now().UnixMilli()
	for i, m := range b.w.views {
		l := b.w.lanes[i]
		if m.Placement == nil {
			if m.Phase == "placing" {
				out = append(out, &messages.Resident{Model: m.Id, Phase: m.Phase, WaitedMs: now - m.WantedMs, Queued: uint32(len(l.waiting))})
			}
			continue
		}
		r := &messages.Resident{Model: m.Id, Gpu: m.Placement.Gpu, Bytes: m.Placement.Bytes, Phase: m.Phase, Active: uint32(len(l.running)),
			Queued: uint32(len(l.waiting)), IdleMs: l.idle().Milliseconds(), LoadMs: m.LoadMs, Groups: m.GetSpec().GetGroups(), Pinned: pinned(m, now)}
		if m.MeasuredBytes > 0 {
			r.Bytes = m.MeasuredBytes
		}
		if m.ReadyMs > 0 {
			r.HeldMs = now - m.ReadyMs
			r.Young = r.HeldMs < int64(m.GetSpec().GetMinResidencySeconds())*1000
		}
		out = append(out, r)
	}
	return out
}

func pinned(m *messages.ModelView, nowMS int64) bool {
	return m.GetSpec().GetPinned() || m.PinnedBy != "" && (m.PinnedUntilMs == 0 || nowMS < m.PinnedUntilMs)
}
