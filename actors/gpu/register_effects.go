package gpu

import (
	"context"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// roll is which devices were read last, and what is to be seen once more before it counts.
type roll struct {
	present map[messages.ActorID]bool
	resized map[messages.ActorID]uint64 // a capacity that differs from the registered one, in bytes
}

// Register tells the ledgers what their devices are. A device that can't be used has no ledger until it can; a ledger whose device can't be
// used, or that no driver lists any more, grants nothing. None of this ends the start.
func (s *Sampler) Register(ctx context.Context) error {
	readings, err := s.read(ctx)
	if err != nil {
		return err
	}
	s.roll = roll{present: map[messages.ActorID]bool{}, resized: map[messages.ActorID]uint64{}}
	for _, r := range readings {
		id := s.id(r)
		s.roll.present[id] = true
		s.View.SetReading(id, r)
		var command proto.Message = s.registration(r)
		if !usable(r) {
			if command = (&messages.ObserveDevice{Reading: r}); s.View.GPU(id).GetCapacityBytes() == 0 {
				continue
			}
		}
		if _, err := s.Door.Ask(ctx, id, command); err != nil {
			return err
		}
	}
	for id, r := range s.absent(readings) {
		if _, err := s.Door.Ask(ctx, id, &messages.ObserveDevice{Reading: r}); err != nil {
			return err
		}
	}
	return nil
}

func usable(r *messages.DeviceReading) bool { return !r.Lost && r.CapacityBytes > 0 }

func (s *Sampler) registration(r *messages.DeviceReading) *messages.RegisterDevice {
	c := &messages.RegisterDevice{Kind: r.Kind, Name: r.Name, Uuid: r.Uuid, CapacityBytes: r.CapacityBytes}
	if r.Kind != "cpu" && r.Kind != "unified" {
		c.MarginBytes, c.SoftLimitBytes = s.MarginBytes, s.SoftLimitBytes
	}
	return c
}

// admit registers a device that has no ledger yet, or that came back as another one. false: it has no ledger and can have none now.
func (s *Sampler) admit(ctx context.Context, r *messages.DeviceReading) bool {
	id := s.id(r)
	g := s.View.GPU(id)
	if usable(r) && (g.GetCapacityBytes() == 0 || (g.Kind != r.Kind || g.Uuid != r.Uuid || s.resized(id, g, r)) && s.mayRenew(id)) {
		s.Door.Tell(ctx, id, s.registration(r))
		return true
	}
	if g.GetCapacityBytes() == 0 {
		s.View.SetReading(id, r)
		return false
	}
	return true
}

// resized tells whether a device has another capacity for good: two readings in a row say the same, and it is worth an event. What a driver
// keeps for itself varies a little, and a single reading can be wrong.
func (s *Sampler) resized(id messages.ActorID, g *messages.GpuView, r *messages.DeviceReading) bool {
	if distance(g.CapacityBytes, r.CapacityBytes) < foreignStep {
		delete(s.roll.resized, id)
		return false
	}
	if s.roll.resized[id] == r.CapacityBytes {
		delete(s.roll.resized, id)
		return true
	}
	if s.roll.resized == nil {
		s.roll.resized = map[messages.ActorID]uint64{}
	}
	s.roll.resized[id] = r.CapacityBytes
	return false
}

// miss tells the ledgers of devices that were read before and aren't listed any more.
func (s *Sampler) miss(ctx context.Context, readings []*messages.DeviceReading) {
	now := map[messages.ActorID]bool{}
	for _, r := range readings {
		now[s.id(r)] = true
	}
	for id := range s.roll.present {
		if !now[id] {
			s.View.SetReading(id, nil)
		}
	}
	s.roll.present = now
	for id, r := range s.absent(readings) {
		if r = s.steady(id, r); !s.View.GPU(id).GetLost() {
			s.Door.Tell(ctx, id, &messages.ObserveDevice{Reading: r})
		}
	}
}

// unlisted is why a device without a reading grants nothing.
const unlisted = "no driver on this host lists it"

// absent are this host's ledgers without a reading, each with the reading that says so. A driver that can't tell which devices it has gives
// the reason for all of its kind.
func (s *Sampler) absent(readings []*messages.DeviceReading) map[messages.ActorID]*messages.DeviceReading {
	now, why := map[messages.ActorID]bool{}, map[string]string{}
	for _, r := range readings {
		now[s.id(r)] = true
		if r.Lost && r.Uuid == "" && r.CapacityBytes == 0 {
			why[r.Kind] = r.LostReason
		}
	}
	out := map[messages.ActorID]*messages.DeviceReading{}
	for _, g := range s.View.GPUs() {
		id, err := messages.ParseActorID(g.Id)
		if err != nil || id.Host() != s.Host || now[id] {
			continue
		}
		r := &messages.DeviceReading{Device: g.Device, Kind: g.Kind, Name: g.Name, Uuid: g.Uuid, CapacityBytes: g.CapacityBytes, Lost: true, LostReason: unlisted}
		if reason := why[g.Kind]; reason != "" {
			r.LostReason = reason
		}
		out[id] = r
	}
	return out
}
