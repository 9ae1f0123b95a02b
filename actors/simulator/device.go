package simulator

import (
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/gpu"
	"modelops/messages"
)

// device is a card of the false world.
type device struct {
	id       messages.ActorID
	capacity uint64
	foreign  uint64 // bytes that other programs hold
	lagging  uint64 // bytes of processes that are gone, as the driver still counts them
	lost     bool
}

// The daemon's figures: what is kept free of each device, the use from which idle models are unloaded, and how often devices are sampled.
const (
	margin        = 512 * messages.MiB
	thresholdPct  = 90
	pollEvery     = time.Second
	bootLongest   = 50 * time.Millisecond
	driverLongest = 3 * time.Second
)

func (w *World) deviceOf(gpu string) int {
	return slices.IndexFunc(w.devices, func(d *device) bool { return d.id.String() == gpu })
}

// used is what a device's driver counts.
func (w *World) used(i int) uint64 {
	sum := w.devices[i].foreign + w.devices[i].lagging
	for _, k := range w.workers {
		bytes, _ := k.on(i)
		sum += bytes
	}
	for _, r := range w.runs {
		for _, p := range r.parts {
			if r.outcome == nil && p.device == i {
				sum += p.bytes
			}
		}
	}
	return sum
}

// lag keeps memory of a dead process counted for a while.
func (w *World) lag(i int, bytes uint64) {
	w.devices[i].lagging += bytes
	w.after(time.Duration(w.rng.Int64N(int64(driverLongest))), func() {
		w.devices[i].lagging -= bytes
		w.poke("free/" + w.devices[i].id.String())
	})
}

// seenFree is the model's port: it parks the work until the driver counts nothing of the dead any more.
func (w *World) seenFree(ctx context.Context, p *messages.Placement) error {
	for _, part := range p.Shares {
		if w.devices[w.deviceOf(part.Gpu)].lagging > 0 {
			return notYet(ctx, "free/"+part.Gpu)
		}
	}
	return nil
}

// held is the model's port: what the driver says of a split placement's worker.
func (w *World) held(ctx context.Context, p *messages.Placement) []uint64 {
	i := slices.IndexFunc(w.samplers, func(s *gpu.Sampler) bool { return s.Host == p.Host })
	return w.samplers[i].Held(ctx, p)
}

// cards are the devices of a host, as its driver shows them.
type cards struct {
	w    *World
	host string
}

// Read implements gpu.Devices.
func (c cards) Read(context.Context) (out []*messages.DeviceReading, _ error) {
	for i, d := range c.w.devices {
		if d.id.Host() != c.host {
			continue
		}
		r := &messages.DeviceReading{Device: d.id.Name(), Kind: "cuda", CapacityBytes: d.capacity, UsedBytes: c.w.used(i), Lost: d.lost, LostReason: "it fell off the bus"}
		for _, k := range c.w.workers {
			if bytes, on := k.on(i); on {
				r.Processes = append(r.Processes, &messages.ProcessMemory{Pid: k.pid, Bytes: bytes})
			}
		}
		for _, run := range c.w.runs {
			for _, p := range run.parts {
				if run.outcome == nil && p.device == i {
					r.Processes = append(r.Processes, &messages.ProcessMemory{Pid: run.pid, Bytes: p.bytes})
				}
			}
		}
		out = append(out, r)
	}
	return out, nil
}

// Faults implements gpu.Devices: there are none.
func (cards) Faults() <-chan *messages.DeviceFault { return nil }

// lossy is a door of which what is told may be lost.
type lossy struct{ door }

// Tell posts a command, or loses it.
func (d lossy) Tell(ctx context.Context, to messages.ActorID, command proto.Message) {
	if !d.w.mishap(d.w.o.Faults.LostAsk) {
		d.door.Tell(ctx, to, command)
	}
}

func (w *World) newSampler(host string) *gpu.Sampler {
	return &gpu.Sampler{Host: host, Devices: []gpu.Devices{cards{w, host}}, View: view{w}, Door: lossy{door{w}}, Log: noLog, Mine: func(int64, int64) bool { return false },
		Now: w.steady, Pressure: gpu.Pressure{ThresholdPct: thresholdPct, Foreign: w.o.ForeignPressure}}
}

// poll samples the devices as the daemon does.
func (w *World) poll() {
	w.alive(pollEvery, w.poll)
	for _, s := range w.samplers {
		s.Sample(&try{})
	}
}
