package simulator

import (
	"time"

	"modelops/actors/arbiter"
	"modelops/messages"
)

func (w *World) checkVictims(p *messages.Placement, device int) {
	now := w.now().UnixMilli()
	waited := w.waitedFor(p)
	young := ""
	for _, v := range p.Victims {
		switch id, _ := messages.ParseActorID(v); {
		case id.Kind == messages.KindJob:
			w.checkJobVictim(p, id)
			continue
		case isJob(p.Holder):
			w.checkLeavesForJob(p, v)
			continue
		}
		i := w.indexOf(v)
		m, f := w.views[i], w.frontOf(i)
		switch busy := m.Phase != messages.ModelView_ready && m.Phase != messages.ModelView_asleep || w.inUse(i); {
		case arbiter.Pinned(m, now):
			w.violated("%s has to leave for %s although it is pinned", v, p.Holder)
		case busy && waited <= w.o.MaxWait:
			w.violated("%s has to leave for %s although it is busy (%s, %d running, %d waiting)", v, p.Holder, m.Phase, len(f.running), f.pool.Waiting())
		case !busy && w.young(m, now):
			young = v
		}
	}
	if young != "" && len(w.declared(w.indexOf(p.Holder)).Groups) == 0 && w.roomWithout(device, p, now) {
		w.violated("%s has to leave for %s inside its minimum residency although others would do", young, p.Holder)
	}
}

// waitedFor is how long a placement was waited for: by the requests for its name, or by its model's own attempt.
func (w *World) waitedFor(p *messages.Placement) time.Duration {
	i := w.indexOf(p.Holder)
	if i < 0 { // a job
		return 0
	}
	if p.Claim == messages.ByName {
		f := w.frontOf(i)
		waited, _ := f.pool.Seeking(f.now())
		return waited
	}
	return time.Duration(w.now().UnixMilli()-w.views[i].WantedMs) * time.Millisecond
}

// inUse tells whether a request runs at a worker, or ran in its pool less than the collation time ago. A model is evicted with its replicas on
// its host, so what runs at them counts for the model itself. What waits counts for the model on the first host.
func (w *World) inUse(i int) bool {
	f, n := w.frontOf(i), w.runningAt(i)
	if i == f.model {
		n += f.pool.Waiting()
	}
	for j, m := range w.models {
		if base, replica := messages.ReplicaOf(m.id.Name()); replica && messages.ModelActor(m.id.Host(), base) == w.models[i].id {
			n += w.runningAt(j)
		}
	}
	return n > 0 || w.views[i].Phase == messages.ModelView_ready && f.pool.Idle(f.now()).Milliseconds() < w.o.Collation.Milliseconds()
}

func (w *World) young(m *messages.ModelView, now int64) bool {
	return m.ReadyMs > 0 && now-m.ReadyMs < int64(m.GetSpec().GetMinResidencySeconds())*1000
}

// roomWithout tells whether the models on a device that may be evicted and aren't young hold enough for a placement.
func (w *World) roomWithout(device int, p *messages.Placement, now int64) bool {
	limit, reserved := limitOf(&w.ledgers[device].state)
	room := limit
	own := w.modelOf[w.indexOf(p.Holder)]
	for i, m := range w.views {
		if w.modelOf[i] == own { // no worker is evicted for another one of its own model
			continue
		}
		if m.Phase == messages.ModelView_ready && len(m.Placement.GetShares()) == 1 && w.deviceOf(m.Placement.Gpu()) == device && !arbiter.Pinned(m, now) && !w.young(m, now) && !w.inUse(i) {
			room += m.MeasuredBytes
		}
	}
	for id, o := range w.arbiter.state.Open { // memory that is promised, and victims that are
		if _, on := o.Placement.On(p.Gpu()); on && id != p.Id {
			return false
		}
	}
	return room >= p.Bytes()+reserved+w.ledgers[device].state.Foreign
}
