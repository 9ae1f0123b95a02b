package arbiter

import (
	"cmp"
	"slices"
	"time"

	"modelops/messages"
)

// AllocationsOf makes allocations of the views of all models at a time (ms since 1970), with the number of requests that run and wait at each. A
// model's own worker counts the requests of its replicas too: they are removed with it.
func AllocationsOf(models []*messages.ModelView, nowMS int64) (out []*messages.Allocation) {
	replicas := map[string]uint32{} // what runs at them, by their model's id
	for _, m := range models {
		if of, ok := messages.ReplicaOf(m.Id); ok {
			replicas[of] += m.Active
		}
	}
	for _, m := range models {
		if a := AllocationOf(m, nowMS); a != nil {
			a.Active += replicas[a.Holder]
			out = append(out, a)
		}
	}
	return out
}

// AllocationOf makes an allocation of a model's view at a time (ms since 1970): the memory that it holds, or that it seeks some; nil when
// neither. The view has the number of requests that run and wait at the model.
func AllocationOf(m *messages.ModelView, nowMS int64) *messages.Allocation {
	if m.Placement == nil {
		if m.Phase != messages.ModelView_placing {
			return nil
		}
		return &messages.Allocation{Holder: m.Id, State: messages.Allocation_seeking, WaitedMs: nowMS - m.WantedMs, Queued: m.Queued, FreeOnly: m.FreeOnly}
	}
	a := &messages.Allocation{Holder: m.Id, State: stateOf(m.Phase), Active: m.Active, Queued: m.Queued,
		IdleMs: m.IdleMs, LoadMs: m.LoadMs, Groups: m.GetSpec().GetGroups(), Pinned: Pinned(m, nowMS),
		Kept: m.Wanted && !m.OnDemand || m.GetSpec().GetMinReplicas() > 1}
	if a.Pinned {
		a.PinnedBy, a.PinnedUntilMs = m.PinnedBy, m.PinnedUntilMs
		if m.GetSpec().GetPinned() {
			a.PinnedBy, a.PinnedUntilMs = itsDeclaration, 0
		}
	}
	if m.Placement.Unpreemptible {
		a.Pinned, a.PinnedBy, a.PinnedUntilMs = true, itsClaim, 0
	}
	for _, s := range m.Placement.Shares {
		a.Shares = append(a.Shares, &messages.Share{Gpu: s.Gpu, Bytes: s.Bytes, Lease: s.Lease, Epoch: s.Epoch})
	}
	if m.MeasuredBytes > 0 && len(a.Shares) == 1 { // for a split one, the ledgers have the figure of each device
		a.Shares[0].Bytes = m.MeasuredBytes
	}
	if m.ReadyMs > 0 {
		a.HeldMs = nowMS - m.ReadyMs
		a.Young = a.HeldMs < int64(m.GetSpec().GetMinResidencySeconds())*1000
	}
	return a
}

// AllocationOfJob makes an allocation of a job's view at a time (ms since 1970), as AllocationOf does of a model's. A job that runs is never idle.
func AllocationOfJob(j *messages.JobView, nowMS int64) *messages.Allocation {
	a := &messages.Allocation{Holder: j.Id, Priority: j.GetSpec().Rank(), Job: true, Goal: j.GetSpec().GetGoal(), By: j.By, Devices: j.GetSpec().RunsOn(), Attempt: j.Attempt,
		WantsBytes: j.GetSpec().WantsBytes(), IdleOnly: j.GetSpec().GetIdleOnly()}
	if j.Placement == nil {
		a.Pinned, a.NotNow = j.GetSpec().GetUnpreemptible(), messages.ClosedWindow(j.GetSpec().GetWindow(), time.UnixMilli(nowMS))
		if j.WaitingSinceMs == 0 {
			return nil
		}
		a.State, a.WaitedMs = messages.Allocation_seeking, nowMS-j.WaitingSinceMs
		return a
	}
	switch j.Phase {
	case messages.JobView_reserved:
		a.State = messages.Allocation_starting
	case messages.JobView_running:
		a.State, a.Active = messages.Allocation_settled, 1
	default:
		a.State = messages.Allocation_changing
	}
	if j.Placement.Unpreemptible {
		a.Pinned, a.PinnedBy = true, itsClaim
	}
	for _, s := range j.Placement.Shares {
		a.Shares = append(a.Shares, &messages.Share{Gpu: s.Gpu, Bytes: s.Bytes, Lease: s.Lease, Epoch: s.Epoch})
	}
	a.Borrowed, a.GraceMs = j.Placement.Borrowed, j.GetSpec().Grace().Milliseconds()
	if j.BeganMs > 0 {
		a.HeldMs = nowMS - j.BeganMs
		a.UnsavedMs = max(nowMS-max(j.BeganMs, j.CheckpointMs), 0)
	}
	return a
}

// Elsewhere fills in, by the views of all hosts' models, where else each idle model can run. apart tells whether a host has another file of the name; nil = none has.
func Elsewhere(all []*messages.Allocation, models []*messages.ModelView, apart func(model, host string) bool) {
	specs := map[string][]*messages.ModelView{} // declarations by name
	for _, v := range models {
		if messages.IsDeclared(v) {
			specs[v.Name] = append(specs[v.Name], v)
		}
	}
	for _, a := range all {
		_, here, name := parts(a.Holder)
		declared := specs[name]
		own := slices.IndexFunc(declared, func(v *messages.ModelView) bool { return v.Host == here })
		if len(declared) < 2 || own < 0 || a.State != messages.Allocation_settled || a.Active+a.Queued > 0 || apart != nil && apart(name, here) {
			continue
		}
		may := declared[own].Spec.Hosts
		for _, v := range declared {
			if v.Host != here && runsOn(may, v.Host) && runsOn(v.Spec.Hosts, v.Host) && (apart == nil || !apart(name, v.Host)) {
				a.Elsewhere = append(a.Elsewhere, v.Host)
			}
		}
		slices.SortFunc(a.Elsewhere, func(x, y string) int {
			return cmp.Or(cmp.Compare(slices.Index(may, x), slices.Index(may, y)), cmp.Compare(x, y))
		})
	}
}

// runsOn tells whether a list of hosts has one; an empty list has all.
func runsOn(hosts []string, host string) bool { return len(hosts) == 0 || slices.Contains(hosts, host) }

func stateOf(p messages.ModelView_Phase) messages.Allocation_State {
	switch p {
	case messages.ModelView_loading:
		return messages.Allocation_starting
	case messages.ModelView_ready:
		return messages.Allocation_settled
	case messages.ModelView_asleep:
		return messages.Allocation_dormant
	}
	return messages.Allocation_changing
}

// Pinned tells whether a model may not be evicted at a time (ms since 1970): by its declaration, or by a pin that holds.
func Pinned(m *messages.ModelView, nowMS int64) bool {
	by, _ := m.PinAt(nowMS)
	return by != ""
}
