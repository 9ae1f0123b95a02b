package gpu

import (
	"context"
	"sync"

	"modelops/messages"
)

// Devices reads devices of a host. Those of the processor also tell a worker's Footprint: what its processes hold of RAM, and the most they
// ever held.
type Devices interface {
	Read(ctx context.Context) ([]*messages.DeviceReading, error)
	Faults() <-chan *messages.DeviceFault
}

// read reads all devices of the host.
func (s *Sampler) read(ctx context.Context) (all []*messages.DeviceReading, err error) {
	for _, d := range s.Devices {
		readings, err := d.Read(ctx)
		all = append(all, readings...)
		if err != nil {
			return all, err
		}
	}
	return all, nil
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
