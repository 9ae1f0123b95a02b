package gpu

import (
	"context"

	"modelops/messages"
)

// hasDriver tells whether a driver of the device's vendor tells what processes hold of it.
func hasDriver(kind string) bool {
	switch kind {
	case "", "cpu", "simulated":
		return false
	}
	return true
}

// Measure is the footprint of a worker on all its devices, in bytes: what the driver says for GPUs, the peak of RAM for the processor.
// A simulated device has no memory to measure: what was reserved counts as used.
func (s *Sampler) Measure(ctx context.Context, pid int64) (uint64, error) {
	return s.MeasureOn(ctx, modelOf(s.View.ModelsOf(s.Host), pid).GetPlacement(), pid)
}

// MeasureOn is Measure for a process of a placement.
func (s *Sampler) MeasureOn(ctx context.Context, p *messages.Placement, pid int64) (uint64, error) {
	switch kind := p.GetDeviceKind(); {
	case kind == "simulated":
		return p.Bytes(), nil
	case hasDriver(kind):
		readings, err := s.read(ctx)
		var sum uint64
		for _, bytes := range onEach(s.Host, p, readings, pid, s.Mine) {
			sum += bytes
		}
		return sum, err
	}
	_, peak, err := s.ram(pid)
	return peak, err
}

// Asleep is what the worker of a sleeping engine holds, in bytes; known is false when only its engine can tell. On a simulated device it
// holds nothing: there is no memory to measure.
func (s *Sampler) Asleep(pid int64) (bytes uint64, known bool, err error) {
	switch modelOf(s.View.ModelsOf(s.Host), pid).GetPlacement().GetDeviceKind() {
	case "simulated":
		return 0, true, nil
	case "cpu": // not the peak, which was when it was awake
		current, _, err := s.ram(pid)
		return current, true, err
	}
	return 0, false, nil
}

// Held is what the worker of a split placement holds of each of its devices, in bytes; nil when the driver doesn't tell.
func (s *Sampler) Held(ctx context.Context, p *messages.Placement) []uint64 {
	if !hasDriver(p.DeviceKind) {
		var reserved []uint64
		for _, part := range p.GetShares() {
			reserved = append(reserved, part.Bytes)
		}
		return reserved
	}
	for _, m := range s.View.ModelsOf(s.Host) {
		if w := m.GetWorker(); w != nil && m.GetPlacement().GetId() == p.Id {
			if readings, err := s.read(ctx); err == nil {
				return onEach(s.Host, p, readings, w.Pid, s.Mine)
			}
		}
	}
	return nil
}
