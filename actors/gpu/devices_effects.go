package gpu

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Devices reads devices of a host. Those of the processor also tell a worker's Footprint: what its processes hold of RAM, and the most they
// ever held.
type Devices interface {
	Read(ctx context.Context) ([]*messages.DeviceReading, error)
	Faults() <-chan *messages.DeviceFault
}

// answerWithin is how long a driver may take to answer; a call into one can hang in the kernel for ever.
const answerWithin = 5 * time.Second

// drivers is what was last seen of each driver, by its place among the Devices.
type drivers struct {
	mu      sync.Mutex
	last    map[int][]*messages.DeviceReading
	trouble map[int]string // why it can't be read; absent while it can
}

// read reads all devices of the host. A driver that can't be read, or doesn't answer in time, keeps no other one from being read: its devices
// are read as lost, with the reason.
func (s *Sampler) read(ctx context.Context) (all []*messages.DeviceReading, err error) {
	for i, d := range s.Devices {
		readings, err := readWithin(ctx, d)
		if ctx.Err() != nil {
			return all, ctx.Err()
		}
		all = append(all, s.seen(i, readings, err)...)
	}
	return all, nil
}

func readWithin(ctx context.Context, d Devices) ([]*messages.DeviceReading, error) {
	within, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	readings, err := d.Read(within)
	if err != nil && ctx.Err() == nil && within.Err() != nil {
		err = fmt.Errorf("the driver doesn't answer within %s", answerWithin)
	}
	return readings, err
}

// seen remembers what a driver said. One that can't be read is logged once, and once when it can be read again.
func (s *Sampler) seen(i int, readings []*messages.DeviceReading, err error) []*messages.DeviceReading {
	s.drivers.mu.Lock()
	defer s.drivers.mu.Unlock()
	if s.drivers.last == nil {
		s.drivers.last, s.drivers.trouble = map[int][]*messages.DeviceReading{}, map[int]string{}
	}
	before, troubled := s.drivers.trouble[i]
	if err == nil {
		if troubled {
			s.Log.Info("the devices can be read again")
		}
		delete(s.drivers.trouble, i)
		s.drivers.last[i] = readings
		s.count(readings)
		return readings
	}
	if s.drivers.trouble[i] = err.Error(); before != err.Error() {
		s.Log.Warn("the devices can't be read", "error", err)
	}
	var out []*messages.DeviceReading
	for _, r := range s.drivers.last[i] {
		r = proto.CloneOf(r)
		r.Lost, r.LostReason = true, "it can't be read: "+err.Error()
		out = append(out, r)
	}
	if s.count(out); len(out) == 0 && s.Failed != nil {
		s.Failed("")
	}
	return out
}

func (s *Sampler) count(readings []*messages.DeviceReading) {
	for _, r := range readings {
		if r.Lost && s.Failed != nil {
			s.Failed(r.Device)
		}
	}
}

func (s *Sampler) troubled() bool {
	s.drivers.mu.Lock()
	defer s.drivers.mu.Unlock()
	return len(s.drivers.trouble) > 0
}

// silent is why the driver of a device can't be read; "" while it can.
func (s *Sampler) silent(device string) string {
	s.drivers.mu.Lock()
	defer s.drivers.mu.Unlock()
	for i, why := range s.drivers.trouble {
		if slices.ContainsFunc(s.drivers.last[i], func(r *messages.DeviceReading) bool { return r.Device == device }) {
			return why
		}
	}
	return ""
}

// Troubles are the reasons why drivers can't be read of which no device is known, and the leases that stay because of such a driver.
func (s *Sampler) Troubles() []string { return append(s.unread(), s.unseen.reasons()...) }

func (s *Sampler) unread() (out []string) {
	s.drivers.mu.Lock()
	defer s.drivers.mu.Unlock()
	for _, i := range slices.Sorted(maps.Keys(s.drivers.trouble)) {
		if len(s.drivers.last[i]) == 0 {
			out = append(out, s.drivers.trouble[i])
		}
	}
	return out
}

// faults are those of all devices, until ctx ends. stop waits for what passes them on; ctx has to end first.
func (s *Sampler) faults(ctx context.Context) (_ <-chan *messages.DeviceFault, stop func()) {
	out := make(chan *messages.DeviceFault)
	var passing sync.WaitGroup
	for _, d := range s.Devices {
		passing.Go(func() { pass(ctx, d.Faults(), out) })
	}
	return out, passing.Wait
}

func pass(ctx context.Context, from <-chan *messages.DeviceFault, to chan<- *messages.DeviceFault) {
	for {
		select {
		case <-ctx.Done():
			return
		case f, ok := <-from:
			if !ok {
				return
			}
			select {
			case to <- f:
			case <-ctx.Done():
				return
			}
		}
	}
}

// ram is what a worker's processes hold of RAM and the most they ever held, in bytes; nothing where no device is the processor.
func (s *Sampler) ram(pid int64) (current, peak uint64, err error) {
	for _, d := range s.Devices {
		if ram, ok := d.(interface {
			Footprint(int64) (uint64, uint64, error)
		}); ok {
			return ram.Footprint(pid)
		}
	}
	return 0, 0, nil
}
