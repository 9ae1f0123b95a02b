package gpu

import (
	"sync"
	"time"

	"modelops/messages"
)

// flaps is the recent past of this host's devices. They are as many as the host has.
type flaps struct {
	mu       sync.Mutex
	of       map[messages.ActorID]*flap
	renewed  map[messages.ActorID]*pause // registrations of a device as another one
	reported map[fault]*pause
}

type fault struct {
	device string
	code   uint64
}

func one[K comparable, V any](all *map[K]*V, key K) *V {
	if *all == nil {
		*all = map[K]*V{}
	}
	if (*all)[key] == nil {
		(*all)[key] = new(V)
	}
	return (*all)[key]
}

func (s *Sampler) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

// steady is the reading of a device that counts.
func (s *Sampler) steady(id messages.ActorID, r *messages.DeviceReading) *messages.DeviceReading {
	s.flaps.mu.Lock()
	defer s.flaps.mu.Unlock()
	return one(&s.flaps.of, id).see(r, s.now())
}

// mayRenew tells whether a ledger may be told now that its device is another one.
func (s *Sampler) mayRenew(id messages.ActorID) bool {
	s.flaps.mu.Lock()
	defer s.flaps.mu.Unlock()
	return one(&s.flaps.renewed, id).due(s.now())
}

// worthTelling tells whether a fault becomes an event. A driver can report the same fault hundreds of times in a second.
func (s *Sampler) worthTelling(f *messages.DeviceFault) bool {
	s.flaps.mu.Lock()
	defer s.flaps.mu.Unlock()
	return one(&s.flaps.reported, fault{f.GetDevice(), f.GetCode()}).due(s.now())
}
