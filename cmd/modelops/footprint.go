package main

import (
	"context"
	"strings"

	"golang.org/x/sys/unix"

	"modelops/actors/view"
	"modelops/messages"
)

// What workers are bound to, and what they hold.

// deviceEnv binds a worker to its GPUs by UUID, in the order of its shares: indexes change when a card is added.
func (d *daemon) deviceEnv(p *messages.Placement) []string {
	var uuids []string
	for _, part := range p.Parts() {
		for _, g := range d.view.GPUs() {
			if g.Id == part.Gpu && g.Kind == "cuda" && g.Uuid != "" {
				uuids = append(uuids, g.Uuid)
			}
		}
	}
	if len(uuids) == 0 {
		return nil
	}
	return []string{"CUDA_VISIBLE_DEVICES=" + strings.Join(uuids, ",")}
}

// footprint is what a worker is taken to hold of simulated devices: what was reserved for it on each.
func footprint(b *view.Projection, pid int64) map[string]uint64 {
	for _, m := range b.Models() {
		if m.GetWorker().GetPid() != pid || m.GetPlacement() == nil {
			continue
		}
		held := map[string]uint64{}
		for _, part := range m.Placement.Parts() {
			if gpu, err := messages.ParseActorID(part.Gpu); err == nil {
				held[gpu.Name()] = part.Bytes
			}
		}
		return held
	}
	return nil
}

// measure is the footprint of a worker on all its devices, in bytes: what the driver says for GPUs, the peak of RAM for the processor.
// A simulated device has no memory to measure: what was reserved counts as used.
func (d *daemon) measure(pid int64) (uint64, error) {
	for _, m := range d.view.Models() {
		if m.GetWorker().GetPid() != pid || m.Placement == nil {
			continue
		}
		switch m.Placement.DeviceKind {
		case "simulated":
			return m.Placement.Bytes, nil
		case "cuda":
			held, err := d.onGPUs(m.Placement, pid)
			var sum uint64
			for _, bytes := range held {
				sum += bytes
			}
			return sum, err
		}
	}
	_, peak, err := d.ram(pid)
	return peak, err
}

// ram is what a worker's processes hold of RAM and the most they ever held; nothing where no device is the processor.
func (d *daemon) ram(pid int64) (current, peak uint64, err error) {
	if ram, ok := d.devices.(interface {
		Footprint(int64) (uint64, uint64, error)
	}); ok {
		return ram.Footprint(pid)
	}
	return 0, 0, nil
}

// held is what the worker of a split placement holds of each of its devices.
func (d *daemon) held(_ context.Context, p *messages.Placement) []uint64 {
	if p.DeviceKind == "cuda" {
		for _, m := range d.view.Models() {
			if w := m.GetWorker(); w != nil && m.GetPlacement().GetId() == p.Id {
				if held, err := d.onGPUs(p, w.Pid); err == nil {
					return held
				}
			}
		}
		return nil
	}
	var reserved []uint64
	for _, part := range p.Parts() {
		reserved = append(reserved, part.Bytes)
	}
	return reserved
}

// onGPUs is what the driver reports for a worker and its children on each device of a placement: they share its process group.
func (d *daemon) onGPUs(p *messages.Placement, pid int64) ([]uint64, error) {
	readings, err := d.devices.Read(d.life)
	if err != nil {
		return nil, err
	}
	held := make([]uint64, len(p.Parts()))
	for i, part := range p.Parts() {
		for _, r := range readings {
			if messages.GPUActor(d.host, r.Device).String() != part.Gpu {
				continue
			}
			for _, x := range r.Processes {
				if x.Pid == pid || sameGroup(x.Pid, pid) {
					held[i] += x.Bytes
				}
			}
		}
	}
	return held, nil
}

func sameGroup(pid, leader int64) bool {
	group, err := unix.Getpgid(int(pid))
	return err == nil && int64(group) == leader
}
