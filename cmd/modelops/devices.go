package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sys/unix"

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

// openDevices chooses the host's devices: simulated ones when configured, else the processor with its RAM budget,
// and the GPUs where there are any.
func openDevices(ctx context.Context, cfg *config.Config, b *board, log *slog.Logger) (devices, error) {
	pids := func() []int64 { return workerPids(b, "") }
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

// workerPids are the local workers, all of them or those of one device.
func workerPids(b *board, gpu string) []int64 {
	var out []int64
	for _, m := range b.modelViews() {
		_, there := m.GetPlacement().On(gpu)
		if w := m.GetWorker(); w != nil && !w.Remote && (gpu == "" || there) {
			out = append(out, w.Pid)
		}
	}
	return out
}

// footprint is what a worker is taken to hold of simulated devices: what was reserved for it on each.
func footprint(b *board, pid int64) map[string]uint64 {
	for _, m := range b.modelViews() {
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
	for _, m := range d.board.modelViews() {
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
		for _, m := range d.board.modelViews() {
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

// foreign is what a device holds beside our workers and the leases of programs that announced themselves.
func foreign(r *messages.DeviceReading, ours []int64, leased uint64) uint64 {
	mine := leased
	for _, p := range r.Processes {
		if slices.ContainsFunc(ours, func(pid int64) bool { return p.Pid == pid || sameGroup(p.Pid, pid) }) {
			mine += p.Bytes
		}
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
		d.board.setReading(r)
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
	d.board.setReading(r)
	id := messages.GPUActor(d.host, r.Device)
	var leased uint64
	for _, g := range d.board.gpuViews(false) {
		if g.Id == id.String() {
			leased = clientLeases(g)
		}
	}
	if r.Kind == "simulated" { // a lease on a simulated device holds nothing that its ledger could see
		leased = 0
	}
	d.tree.Tell(ctx, id, &messages.ObserveDevice{Reading: r, ForeignBytes: foreign(r, workerPids(d.board, id.String()), leased)})
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
	for _, g := range d.board.gpuViews(false) {
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
		id := messages.GPUActor(d.host, r.Device).String()
		if _, on := p.On(id); on && foreign(r, workerPids(d.board, id), 0) > before[id]+freeSlack {
			return false
		}
	}
	return true
}

// remeasure tells models whose workers grew: engines take memory after the load, for caches and graphs, and the peak is what counts.
func (d *daemon) remeasure(ctx context.Context) {
	for _, m := range d.board.modelViews() {
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
	for _, g := range d.board.gpuViews(false) {
		if g.Id != id || g.Kind == "cpu" && g.SoftLimitBytes == 0 {
			continue
		}
		threshold := g.LimitBytes / 100 * uint64(d.cfg.Resources.EvictionThresholdPct)
		used := g.ReservedBytes
		if d.cfg.Scheduler.ForeignPressure {
			used += g.ForeignBytes
		}
		if used > threshold {
			d.tree.Tell(ctx, messages.ArbiterActor(), &messages.RelievePressure{Gpu: id, LevelBytes: threshold / 100 * relieveTo,
				Reason: messages.FormatBytes(used) + " of " + messages.FormatBytes(g.LimitBytes) + " used, threshold " + messages.FormatBytes(threshold)})
		}
	}
}
