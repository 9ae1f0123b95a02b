package gpu

import (
	"maps"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// State is the ledger. All amounts are bytes.
type State struct {
	ID         messages.ActorID
	Registered bool
	Kind       string
	Name       string
	UUID       string
	Capacity   uint64
	Margin     uint64
	SoftLimit  uint64 // 0 = none
	Foreign    uint64
	Lost       bool
	LostReason string
	Faults     uint64
	Reclaimed  uint64 // leases whose holder didn't know them
	Leases     map[string]Lease
	// Obeyed is the highest epoch of an arbiter to which memory was granted; 0 = no arbiter ever took over.
	Obeyed uint64 `json:",omitempty"`
}

// Lease is memory granted to a holder.
type Lease struct {
	Holder    string
	Bytes     uint64
	Measured  uint64 // 0 = not settled
	Epoch     uint64
	TTL       uint32 // seconds; 0 = until released
	GrantedMS int64
	RenewedMS int64 `json:",omitempty"` // the renewal that is journaled last
	Unwatched bool  `json:",omitempty"` // that renewal was because nobody looked
	TakenOver bool  `json:",omitempty"` // its holder has measured or resized it
	// Owner is who took it at a door, by the fingerprint of its key; empty without one.
	Owner string `json:",omitempty"`
	// Arbiter is the host whose arbiter asked for it, and ArbiterEpoch that one's epoch.
	Arbiter      string `json:",omitempty"`
	ArbiterEpoch uint64 `json:",omitempty"`
}

// New is the ledger of a device that isn't registered yet.
func New(id messages.ActorID) State { return State{ID: id, Leases: map[string]Lease{}} }

// Limit is the most that may be in use: what margin and soft limit leave of the capacity.
func (s State) Limit() uint64 {
	limit := s.Capacity - min(s.Margin, s.Capacity)
	if s.SoftLimit > 0 {
		limit = min(limit, s.SoftLimit)
	}
	return limit
}

// Reserved is what leases hold: the measured footprint once there is one, else what was asked for.
func (s State) Reserved() uint64 {
	var sum uint64
	for _, l := range s.Leases {
		sum = plus(sum, l.Holds())
	}
	return sum
}

// Free is what could be granted now.
func (s State) Free() uint64 {
	used := plus(s.Reserved(), s.Foreign)
	return s.Limit() - min(used, s.Limit())
}

// plus stops at the largest number: a nonsensical measurement must not wrap round to free memory.
func plus(a, b uint64) uint64 {
	if a+b < a {
		return math.MaxUint64
	}
	return a + b
}

// Holds is what a lease holds, in bytes: the measured footprint once there is one, else what was asked for.
func (l Lease) Holds() uint64 {
	if l.Measured > 0 {
		return l.Measured
	}
	return l.Bytes
}

// until is how long a lease lives at least, and at most when its last renewal isn't journaled, in ms since 1970.
func (l Lease) until() int64 {
	ttl := int64(l.TTL) * 1000
	if l.RenewedMS == 0 {
		return l.GrantedMS + ttl
	}
	return l.RenewedMS + ttl/2 + ttl
}

// Evolve folds an event.
func Evolve(s State, event proto.Message, sequence uint64) State {
	switch e := event.(messages.GPUEvent).(type) {
	case *messages.DeviceRegistered:
		s.Registered = true
		s.Kind, s.Name, s.UUID = e.Kind, e.Name, e.Uuid
		s.Capacity, s.Margin, s.SoftLimit = e.CapacityBytes, e.MarginBytes, e.SoftLimitBytes
	case *messages.VramReserved:
		s.Leases = maps.Clone(s.Leases)
		s.Leases[e.Lease] = Lease{Holder: e.Holder, Bytes: e.Bytes, Epoch: sequence, TTL: e.TtlSeconds, GrantedMS: e.At.AsTime().UnixMilli(), Owner: e.Owner,
			Arbiter: e.Arbiter, ArbiterEpoch: e.ArbiterEpoch}
		s.Obeyed = max(s.Obeyed, e.ArbiterEpoch)
	case *messages.VramSettled:
		if l, ok := s.Leases[e.Lease]; ok {
			s.Leases = maps.Clone(s.Leases)
			l.Measured, l.TakenOver = e.MeasuredBytes, true
			s.Leases[e.Lease] = l
		}
	case *messages.VramResized:
		if l, ok := s.Leases[e.Lease]; ok {
			s.Leases = maps.Clone(s.Leases)
			l.Bytes, l.Measured, l.TakenOver = e.Bytes, 0, true
			s.Leases[e.Lease] = l
		}
	case *messages.VramReleased:
		s.Leases = without(s.Leases, e.Lease)
	case *messages.LeaseRenewed:
		if l, ok := s.Leases[e.Lease]; ok {
			s.Leases = maps.Clone(s.Leases)
			l.RenewedMS, l.Unwatched = e.At.AsTime().UnixMilli(), e.Unwatched
			s.Leases[e.Lease] = l
		}
	case *messages.LeaseExpired:
		s.Leases = without(s.Leases, e.Lease)
	case *messages.LeaseReclaimed:
		s.Leases = without(s.Leases, e.Lease)
		s.Reclaimed++
	case *messages.ForeignUseChanged:
		s.Foreign = e.Bytes
	case *messages.DeviceLost:
		s.Lost, s.LostReason = true, e.Reason
	case *messages.DeviceRecovered:
		s.Lost, s.LostReason = false, ""
	case *messages.DeviceFaulted:
		s.Faults++
	}
	return s
}

func without(leases map[string]Lease, id string) map[string]Lease {
	out := maps.Clone(leases)
	delete(out, id)
	return out
}

// View is what is shown of the ledger.
func View(s State) proto.Message {
	v := &messages.GpuView{
		Id: s.ID.String(), Host: s.ID.Host(), Device: s.ID.Name(), Kind: s.Kind, Name: s.Name, Uuid: s.UUID,
		CapacityBytes: s.Capacity, MarginBytes: s.Margin, SoftLimitBytes: s.SoftLimit,
		LimitBytes: s.Limit(), ReservedBytes: s.Reserved(), ForeignBytes: s.Foreign, FreeBytes: s.Free(),
		Lost: s.Lost, LostReason: s.LostReason, ObeyedEpoch: s.Obeyed,
	}
	for _, id := range slices.Sorted(maps.Keys(s.Leases)) {
		l := s.Leases[id]
		v.Reservations = append(v.Reservations, &messages.Reservation{
			Lease: id, Holder: l.Holder, Bytes: l.Bytes, MeasuredBytes: l.Measured, Epoch: l.Epoch, TtlSeconds: l.TTL, GrantedMs: l.GrantedMS,
		})
	}
	return v
}
