package explain

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"modelops/messages"
)

// house is the latest state of models and ledgers, as far as an explanation names them.
type house struct {
	models  map[string]*residency
	ledgers map[string]*ledger
	swaps   map[string]exchange // the latest of each name, and the one that a running one would replace
}

// residency is where a model is on its way to a worker and back.
type residency struct {
	spec       *messages.ModelSpec
	phase      messages.ModelView_Phase
	retired    bool
	failures   int // loads in a row
	placement  *messages.Placement
	worker     *messages.Worker
	measured   uint64
	loadMS     int64
	ready      time.Time
	retryAt    time.Time
	pinnedBy   string
	pinnedTill int64
	draining   string // why it drains, sleeps or wakes
}

// ledger is one device.
type ledger struct {
	capacity, margin, soft uint64
	foreign                uint64
	lost                   string
	leases                 map[string]lease
}

type lease struct {
	id, gpu, holder string
	bytes, measured uint64
	ttl             uint32
	at              time.Time
	epoch           uint64
}

func (l lease) holds() uint64 { return cmp.Or(l.measured, l.bytes) }

func newHouse() house {
	return house{models: map[string]*residency{}, ledgers: map[string]*ledger{}, swaps: map[string]exchange{}}
}

var nobody, nothing = &residency{phase: messages.ModelView_absent}, &ledger{}

// model is what is known of a model; never nil, and not to be written to.
func (h house) model(id string) *residency {
	if m, ok := h.models[id]; ok {
		return m
	}
	return nobody
}

func (h house) phase(id string) messages.ModelView_Phase { return h.model(id).phase }

// ledger is what is known of a device; never nil, and not to be written to.
func (h house) ledger(id messages.ActorID) *ledger { return h.ledgerOf(id.String()) }

func (h house) ledgerOf(gpu string) *ledger {
	if l, ok := h.ledgers[gpu]; ok {
		return l
	}
	return nothing
}

// limit is the most that may be reserved of the device.
func (l *ledger) limit() uint64 {
	limit := l.usable()
	if l.soft > 0 {
		limit = min(limit, l.soft)
	}
	return limit
}

// usable is what the device has beside its margin, whatever the soft limit says.
func (l *ledger) usable() uint64 { return l.capacity - min(l.margin, l.capacity) }

// holders are a device's leases, the largest first.
func (h house) holders(gpu string) []lease {
	var out []lease
	for _, l := range h.ledgerOf(gpu).leases {
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b lease) int { return cmp.Or(cmp.Compare(b.holds(), a.holds()), cmp.Compare(a.id, b.id)) })
	return out
}

// rivals are the models beside a placement's victims on its device that nobody had pinned.
func (h house) rivals(p *messages.Placement, at time.Time) []string {
	var out []string
	for _, l := range h.holders(p.Gpu()) {
		m := h.model(l.holder)
		if m.phase == messages.ModelView_ready && m.pinner(at) == "" && l.holder != p.GetHolder() && !slices.Contains(p.GetVictims(), l.holder) {
			out = append(out, l.holder)
		}
	}
	return out
}

// pinner is who keeps the model from eviction at a time; empty when nobody does.
func (m *residency) pinner(at time.Time) string {
	switch {
	case m.spec.GetPinned():
		return "its declaration"
	case m.pinnedBy != "" && (m.pinnedTill == 0 || at.UnixMilli() < m.pinnedTill):
		return m.pinnedBy
	}
	return ""
}

func (m *residency) resident() bool {
	switch m.phase {
	case messages.ModelView_loading, messages.ModelView_ready, messages.ModelView_falling_asleep, messages.ModelView_asleep, messages.ModelView_waking, messages.ModelView_draining, messages.ModelView_stopping:
		return true
	}
	return false
}

func (h house) fold(f fact) {
	switch f.actor.Kind {
	case messages.KindGPU:
		l, ok := h.ledgers[f.actor.String()]
		if !ok {
			l = &ledger{leases: map[string]lease{}}
			h.ledgers[f.actor.String()] = l
		}
		l.fold(f)
	case messages.KindModel:
		m, ok := h.models[f.actor.String()]
		if !ok {
			m = &residency{phase: messages.ModelView_absent}
			h.models[f.actor.String()] = m
		}
		m.fold(f)
	case messages.KindHost:
		h.foldHost(f)
	}
}

func (l *ledger) fold(f fact) {
	switch e := f.event.(type) {
	case *messages.DeviceRegistered:
		l.capacity, l.margin, l.soft = e.CapacityBytes, e.MarginBytes, e.SoftLimitBytes
	case *messages.VramReserved:
		l.leases[e.Lease] = lease{id: e.Lease, gpu: f.actor.String(), holder: e.Holder, bytes: e.Bytes, ttl: e.TtlSeconds, at: f.at, epoch: f.sequence}
	case *messages.VramSettled:
		if held, ok := l.leases[e.Lease]; ok {
			held.measured = e.MeasuredBytes
			l.leases[e.Lease] = held
		}
	case *messages.VramResized:
		if held, ok := l.leases[e.Lease]; ok {
			held.bytes, held.measured = e.Bytes, 0
			l.leases[e.Lease] = held
		}
	case *messages.VramReleased:
		delete(l.leases, e.Lease)
	case *messages.LeaseExpired:
		delete(l.leases, e.Lease)
	case *messages.ForeignUseChanged:
		l.foreign = e.Bytes
	case *messages.DeviceLost:
		l.lost = cmp.Or(e.Reason, "no reason was given")
	case *messages.DeviceRecovered:
		l.lost = ""
	}
}

// healthyAfter is how long a worker must have been ready for its death to be a first failure again.
const healthyAfter = time.Minute

func (m *residency) fold(f fact) {
	switch e := f.event.(type) {
	case *messages.ModelDeclared:
		m.spec, m.retired = e.Spec, false
	case *messages.ModelRetired:
		m.retired = true
	case *messages.ModelWanted:
		if m.phase == messages.ModelView_failed {
			m.failures = 0
		}
		if !m.resident() {
			m.phase = messages.ModelView_placing
		}
	case *messages.ModelUnwanted:
		if !m.resident() {
			m.phase, m.failures = messages.ModelView_absent, 0
		}
	case *messages.ModelLoadStarted:
		m.phase, m.placement, m.worker = messages.ModelView_loading, e.Placement, nil
	case *messages.WorkerStarted:
		m.worker = e.Worker
	case *messages.ModelReady:
		m.phase, m.measured, m.loadMS, m.ready = messages.ModelView_ready, e.MeasuredBytes, e.LoadMs, f.at
	case *messages.SleepStarted:
		m.phase, m.draining = messages.ModelView_falling_asleep, e.Reason
	case *messages.ModelAsleep:
		if m.phase == messages.ModelView_falling_asleep {
			m.phase = messages.ModelView_asleep
		}
	case *messages.WakeStarted:
		m.phase, m.draining = messages.ModelView_waking, e.Reason
	case *messages.ModelAwake:
		m.phase = messages.ModelView_ready
	case *messages.FootprintMeasured:
		m.measured = e.Bytes
	case *messages.ModelPinned:
		m.pinnedBy, m.pinnedTill = e.Owner, e.UntilMs
	case *messages.ModelDraining:
		m.phase, m.draining = messages.ModelView_draining, e.Reason
	case *messages.ModelDrained:
		m.phase = messages.ModelView_stopping
	case *messages.WorkerExited:
		if m.phase == messages.ModelView_ready && !e.Unwitnessed {
			m.failures = max(m.failures, 1)
			if f.at.Sub(m.ready) > healthyAfter {
				m.failures = 0
			}
		}
		m.phase, m.worker = messages.ModelView_absent, nil
	case *messages.LoadFailed:
		m.failures++
		m.phase, m.worker = messages.ModelView_failed, nil
		if e.RetryMs > 0 {
			m.phase, m.retryAt = messages.ModelView_waiting, f.at.Add(time.Duration(e.RetryMs)*time.Millisecond)
		}
	}
}

// reliefID names a decision to relieve pressure: it has no id but its place in the journal.
func reliefID(sequence uint64) string { return "relief/" + strconv.FormatUint(sequence, 10) }
