package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"modelops/actors/view"
	"modelops/bridges/config"
	"modelops/bridges/cpu"
	"modelops/bridges/nvml"
	"modelops/bridges/sim"
	"modelops/messages"
)

// devices is the port that the device bridges fill.
type devices interface {
	Read(ctx context.Context) ([]*messages.DeviceReading, error)
	Faults() <-chan *messages.DeviceFault
	Status() string
	Close() error
}

// opener finds the devices of a host.
type opener func(context.Context, *config.Config, *view.Projection, *slog.Logger) (devices, error)

// openDevices chooses the host's devices: simulated ones when configured, else the processor with its RAM budget,
// and the GPUs where there are any.
func openDevices(ctx context.Context, cfg *config.Config, b *view.Projection, log *slog.Logger) (devices, error) {
	pids := func() []int64 { return workerPids(b) }
	if len(cfg.Resources.Devices) > 0 {
		var ds []sim.Device
		for _, d := range cfg.Resources.Devices {
			ds = append(ds, sim.Device{ID: d.ID, CapacityBytes: uint64(d.CapacityMB) * messages.MiB})
		}
		return sim.New(ds, sim.Options{Pids: pids, Footprint: func(pid int64) map[string]uint64 { return footprint(b, pid) }})
	}
	gpus := nvml.Open(ctx, nvml.Options{Log: log})
	readings, err := gpus.Read(ctx)
	if err != nil {
		return nil, err
	}
	ram := cpu.Open(cpu.Options{BudgetBytes: uint64(cfg.Resources.CPUBudgetMB) * messages.MiB, Pids: pids})
	if len(readings) > 0 {
		return withGPUs{gpus, ram}, nil
	}
	if err := gpus.Close(); err != nil {
		log.Warn("NVML didn't close", "error", err)
	}
	return ram, nil
}

// withGPUs are the GPUs of a host and its processor, which runs the engines that don't use GPUs.
type withGPUs struct {
	*nvml.Devices
	ram *cpu.Device
}

func (w withGPUs) Read(ctx context.Context) ([]*messages.DeviceReading, error) {
	gpus, err := w.Devices.Read(ctx)
	if err != nil {
		return nil, err
	}
	ram, err := w.ram.Read(ctx)
	return append(gpus, ram...), err
}

func (w withGPUs) Status() string { return w.Devices.Status() + "; " + w.ram.Status() }

// Footprint is the RAM of a worker on the processor.
func (w withGPUs) Footprint(pid int64) (current, peak uint64, err error) { return w.ram.Footprint(pid) }

// workerPids are the local workers.
func workerPids(b *view.Projection) []int64 {
	var out []int64
	for _, m := range b.Models() {
		if w := m.GetWorker(); w != nil && !w.Remote {
			out = append(out, w.Pid)
		}
	}
	return out
}

// tenant is a worker of ours on a device.
type tenant struct {
	pid int64
	// lease is what its ledger counts for it, in bytes; 0 while it isn't known to have taken its memory.
	lease uint64
}

// tenants are the local workers of a device.
func tenants(b *view.Projection, gpu *messages.GpuView) []tenant {
	var out []tenant
	for _, m := range b.Models() {
		w := m.GetWorker()
		if _, there := m.GetPlacement().On(gpu.GetId()); w == nil || w.Remote || !there {
			continue
		}
		t := tenant{pid: w.Pid}
		for _, r := range gpu.GetReservations() {
			if r.Holder == m.Id && m.Phase != "loading" {
				t.lease = cmp.Or(r.MeasuredBytes, r.Bytes)
			}
		}
		out = append(out, t)
	}
	return out
}

// foreign is what a device holds beside our workers and the leases of programs that announced themselves. In a container the driver
// doesn't tell which of its processes are ours: a worker of which it says nothing holds what its lease says, or it would count twice.
func foreign(r *messages.DeviceReading, ours []tenant, leased uint64) uint64 {
	mine := leased
	for _, t := range ours {
		var seen uint64
		for _, p := range r.Processes {
			if p.Pid == t.pid || sameGroup(p.Pid, t.pid) {
				seen += p.Bytes
			}
		}
		mine += cmp.Or(seen, t.lease)
	}
	return r.UsedBytes - min(mine, r.UsedBytes)
}

// clientLeases is what programs hold of a device by lease: known, so not foreign.
func clientLeases(g *messages.GpuView) uint64 {
	var sum uint64
	for _, r := range g.GetReservations() {
		if id, err := messages.ParseActorID(r.Holder); err != nil || id.Kind != messages.KindModel {
			sum += r.Bytes
		}
	}
	return sum
}

// register tells the ledgers what their devices are.
func (d *daemon) register(ctx context.Context) error {
	readings, err := d.devices.Read(ctx)
	if err != nil {
		return err
	}
	for _, r := range readings {
		d.view.SetReading(messages.GPUActor(d.host, r.Device), r)
		cmd := &messages.RegisterDevice{Kind: r.Kind, Name: r.Name, Uuid: r.Uuid, CapacityBytes: r.CapacityBytes}
		if r.Kind != "cpu" { // the RAM budget is a limit by itself
			cmd.MarginBytes = uint64(d.cfg.Resources.MarginMB) * messages.MiB
			cmd.SoftLimitBytes = uint64(d.cfg.Resources.VRAMSoftLimitMB) * messages.MiB
		}
		if _, err := d.tree.Ask(ctx, messages.GPUActor(d.host, r.Device), cmd); err != nil {
			return err
		}
	}
	return nil
}

// poll samples the devices until ctx ends. Only what changes a mind becomes an event: the ledger decides which.
func (d *daemon) poll(ctx context.Context) {
	tick := time.NewTicker(d.cfg.Resources.GPUPollInterval)
	defer tick.Stop()
	for {
		readings, err := d.devices.Read(ctx)
		if err != nil && ctx.Err() == nil {
			d.log.Warn("the devices can't be read", "error", err)
		}
		for _, r := range readings {
			d.observe(ctx, r)
			d.relieve(ctx, r)
		}
		d.remeasure(ctx)
		select {
		case <-ctx.Done():
			return
		case f, ok := <-d.devices.Faults():
			if ok {
				d.tree.Tell(ctx, messages.GPUActor(d.host, f.Device), &messages.ReportFault{Fault: f})
			}
		case <-tick.C:
		}
	}
}

func (d *daemon) observe(ctx context.Context, r *messages.DeviceReading) {
	id := messages.GPUActor(d.host, r.Device)
	d.view.SetReading(id, r)
	g := d.view.GPU(id)
	leased := clientLeases(g)
	if r.Kind == "simulated" { // a lease on a simulated device holds nothing that its ledger could see
		leased = 0
	}
	d.tree.Tell(ctx, id, &messages.ObserveDevice{Reading: r, ForeignBytes: foreign(r, tenants(d.view, g), leased)})
}

// A device's driver reports memory as used for some time after its process is gone.
const (
	freePoll   = 50 * time.Millisecond
	freeWithin = 10 * time.Second
	freeSlack  = 256 * messages.MiB
)

// seenFree waits until a GPU's use that isn't ours is what it was before: the memory of a worker that is gone no longer counts as a
// stranger's. RAM and simulated memory are free with the process.
func (d *daemon) seenFree(ctx context.Context, p *messages.Placement) {
	if p.DeviceKind != "cuda" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, freeWithin)
	defer cancel()
	before := map[string]uint64{}
	for _, g := range d.view.GPUs() {
		before[g.Id] = g.ForeignBytes + clientLeases(g)
	}
	tick := time.NewTicker(freePoll)
	defer tick.Stop()
	for {
		readings, err := d.devices.Read(ctx)
		if err != nil || d.allFree(readings, p, before) {
			return
		}
		select {
		case <-d.life.Done(): // the daemon ends, and asks again when it is back
			return
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				d.log.Warn("a worker is gone but its memory isn't seen to be free", "actor", p.Model, "gpu", p.Gpu, "waited", freeWithin)
			}
			return
		case <-tick.C:
		}
	}
}

func (d *daemon) allFree(readings []*messages.DeviceReading, p *messages.Placement, before map[string]uint64) bool {
	for _, r := range readings {
		id := messages.GPUActor(d.host, r.Device)
		if _, on := p.On(id.String()); on && foreign(r, tenants(d.view, d.view.GPU(id)), 0) > before[id.String()]+freeSlack {
			return false
		}
	}
	return true
}

// remeasure tells models whose workers grew: engines take memory after the load, for caches and graphs, and the peak is what counts.
func (d *daemon) remeasure(ctx context.Context) {
	for _, m := range d.view.Models() {
		if m.Phase != "ready" || m.GetWorker().GetRemote() {
			continue
		}
		bytes, err := d.measure(m.Worker.Pid)
		if err != nil || bytes <= m.MeasuredBytes {
			continue
		}
		d.tree.Tell(ctx, messages.ModelActor(d.host, m.Name), &messages.ReportFootprint{Attempt: m.Attempt, Bytes: bytes})
	}
}

// relieveTo is the part of the threshold down to which models are evicted: the blueprint's 80 %.
const relieveTo = 80

// relieve asks for idle models to leave when a device is over its threshold.
func (d *daemon) relieve(ctx context.Context, r *messages.DeviceReading) {
	id := messages.GPUActor(d.host, r.Device).String()
	for _, g := range d.view.GPUs() {
		if g.Id != id || g.Kind == "cpu" && g.SoftLimitBytes == 0 {
			continue
		}
		threshold := g.LimitBytes / 100 * uint64(d.cfg.Resources.EvictionThresholdPct)
		used, level := g.ReservedBytes, threshold/100*relieveTo
		if d.cfg.Scheduler.ForeignPressure {
			used += g.ForeignBytes
		} else {
			level += g.ForeignBytes // the scheduler counts strangers, and nobody is to leave because of them
		}
		if used > threshold {
			d.tree.Tell(ctx, messages.ArbiterActor(), &messages.RelievePressure{Gpu: id, LevelBytes: level,
				Reason: messages.FormatBytes(used) + " of " + messages.FormatBytes(g.LimitBytes) + " used, threshold " + messages.FormatBytes(threshold)})
		}
	}
}
