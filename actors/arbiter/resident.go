package arbiter

import "modelops/messages"

// ResidentsOf reads the views of all models as the scheduler sees them at a time (ms since 1970). Each carries what runs and waits at it. A
// model's own worker counts what runs at its replicas as its own: they go when it goes.
func ResidentsOf(models []*messages.ModelView, nowMS int64) (out []*messages.Resident) {
	replicas := map[string]uint32{} // what runs at them, by their model's id
	for _, m := range models {
		if of, ok := messages.ReplicaOf(m.Id); ok {
			replicas[of] += m.Active
		}
	}
	for _, m := range models {
		if r := ResidentOf(m, nowMS); r != nil {
			r.Active += replicas[r.Model]
			out = append(out, r)
		}
	}
	return out
}

// ResidentOf reads a model's view as the scheduler sees it at a time (ms since 1970): what it holds, or that it waits for a place; nil
// when it does neither. The view carries what runs and waits at the model.
func ResidentOf(m *messages.ModelView, nowMS int64) *messages.Resident {
	if m.Placement == nil {
		if m.Phase != "placing" {
			return nil
		}
		return &messages.Resident{Model: m.Id, Phase: m.Phase, WaitedMs: nowMS - m.WantedMs, Queued: m.Queued}
	}
	r := &messages.Resident{Model: m.Id, Gpu: m.Placement.Gpu, Bytes: m.Placement.Bytes, Phase: m.Phase, Active: m.Active, Queued: m.Queued,
		IdleMs: m.IdleMs, LoadMs: m.LoadMs, Groups: m.GetSpec().GetGroups(), Pinned: Pinned(m, nowMS)}
	if r.Pinned {
		r.PinnedBy, r.PinnedUntilMs = m.PinnedBy, m.PinnedUntilMs
		if m.GetSpec().GetPinned() {
			r.PinnedBy, r.PinnedUntilMs = "its declaration", 0
		}
	}
	if m.MeasuredBytes > 0 {
		r.Bytes = m.MeasuredBytes
	}
	for _, part := range m.Placement.Shares { // the ledgers know better what each holds
		r.Shares = append(r.Shares, &messages.Share{Gpu: part.Gpu, Bytes: part.Bytes, Lease: part.Lease})
	}
	if m.ReadyMs > 0 {
		r.HeldMs = nowMS - m.ReadyMs
		r.Young = r.HeldMs < int64(m.GetSpec().GetMinResidencySeconds())*1000
	}
	return r
}

// Pinned tells whether a model may not be evicted at a time (ms since 1970): by its declaration, or by a pin that holds.
func Pinned(m *messages.ModelView, nowMS int64) bool {
	return m.GetSpec().GetPinned() || m.PinnedBy != "" && (m.PinnedUntilMs == 0 || nowMS < m.PinnedUntilMs)
}
