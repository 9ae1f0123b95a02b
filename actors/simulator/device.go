package simulator

import (
	"context"
	"slices"
	"time"

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

// The daemon's figures: what is kept free of each device, the use from which idle models are unloaded and down to which, and how long a model
// waits to see memory free.
const (
	margin        = 512 * messages.MiB
	thresholdPct  = 90
	relieveToPct  = 80
	pollEvery     = time.Second
	bootLongest   = 50 * time.Millisecond
	freeWithin    = 10 * time.Second
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
func (w *World) seenFree(ctx context.Context, p *messages.Placement) {
	for _, part := range p.Shares {
		if w.devices[w.deviceOf(part.Gpu)].lagging > 0 {
			_ = notYet(ctx, "free/"+part.Gpu)
			return
		}
	}
}

// held is what a placement's worker holds of each device.
func (w *World) held(_ context.Context, p *messages.Placement) (out []uint64) {
	for _, k := range w.workers {
		if k.parts[0].lease == p.Shares[0].Lease {
			for _, x := range k.parts {
				out = append(out, x.bytes)
			}
		}
	}
	return out
}

// poll samples the devices as the daemon does: what isn't held by our workers is foreign.
func (w *World) poll() {
	w.alive(pollEvery, w.poll)
	for i, d := range w.devices {
		used := w.used(i)
		ours := uint64(0)
		for _, v := range w.views {
			if _, on := v.Placement.On(d.id.String()); on && v.Worker != nil {
				if k := w.withNonce(v.Worker.Nonce); k != nil {
					bytes, _ := k.on(i)
					ours += bytes
				}
			}
		}
		if w.mishap(w.o.Faults.LostAsk) {
			continue // the sample is lost
		}
		door{w}.Tell(&try{}, d.id, &messages.ObserveDevice{ForeignBytes: used - min(ours, used),
			Reading: &messages.DeviceReading{Kind: "cuda", CapacityBytes: d.capacity, UsedBytes: used, Lost: d.lost, LostReason: "it fell off the bus"}})
		w.relieve(i)
	}
	w.remeasure()
}

func (w *World) relieve(i int) {
	g := w.accounts[i]
	threshold := g.LimitBytes / 100 * thresholdPct
	if g.ReservedBytes+g.ForeignBytes > threshold && threshold > 0 {
		door{w}.Tell(&try{}, w.arbiter.id, &messages.RelievePressure{Gpu: g.Id, LevelBytes: threshold / 100 * relieveToPct, Reason: "over its threshold"})
	}
}

// remeasure tells models whose workers grew.
func (w *World) remeasure() {
	for i, v := range w.views {
		if v.Phase != messages.ModelView_ready {
			continue
		}
		if k := w.withNonce(v.Worker.Nonce); k != nil && k.bytes() > v.MeasuredBytes {
			door{w}.Tell(&try{}, w.models[i].id, &messages.ReportFootprint{Attempt: v.Attempt, Bytes: k.bytes()})
		}
	}
}
