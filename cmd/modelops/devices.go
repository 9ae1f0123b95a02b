package main

import (
	"context"
	"log/slog"
	"time"

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

// openDevices chooses the host's devices: simulated ones when configured, else the GPUs, else the processor with its RAM budget.
func openDevices(ctx context.Context, cfg *config.Config, b *board, log *slog.Logger) (devices, error) {
	pids := func() []int64 { return workerPids(b, "") }
	if len(cfg.Resources.Devices) > 0 {
		var ds []sim.Device
		for _, d := range cfg.Resources.Devices {
			ds = append(ds, sim.Device{ID: d.ID, CapacityBytes: uint64(d.CapacityMB) * messages.MiB})
		}
		return sim.New(ds, sim.Options{Pids: pids, Footprint: func(pid int64) (string, uint64, bool) { return footprint(b, pid) }})
	}
	gpus := nvml.Open(ctx, nvml.Options{Log: log})
	readings, err := gpus.Read(ctx)
	if err != nil {
		return nil, err
	}
	if len(readings) > 0 {
		return gpus, nil
	}
	if err := gpus.Close(); err != nil {
		log.Warn("NVML didn't close", "error", err)
	}
	return cpu.Open(cpu.Options{BudgetBytes: uint64(cfg.Resources.CPUBudgetMB) * messages.MiB, Pids: pids}), nil
}

// workerPids are the local workers, all of them or those of one device.
func workerPids(b *board, gpu string) []int64 {
	var out []int64
	for _, m := range b.modelViews() {
		if w := m.GetWorker(); w != nil && !w.Remote && (gpu == "" || m.GetPlacement().GetGpu() == gpu) {
			out = append(out, w.Pid)
		}
	}
	return out
}

// footprint is what a worker is taken to hold of a simulated device: what was reserved for it.
func footprint(b *board, pid int64) (device string, bytes uint64, ok bool) {
	for _, m := range b.modelViews() {
		if m.GetWorker().GetPid() == pid && m.GetPlacement() != nil {
			gpu, err := messages.ParseActorID(m.Placement.Gpu)
			return gpu.Name(), m.Placement.Bytes, err == nil
		}
	}
	return "", 0, false
}

// foreign is what a device holds beside our workers and the leases of programs that announced themselves.
func foreign(r *messages.DeviceReading, ours []int64, leased uint64) uint64 {
	mine := leased
	for _, p := range r.Processes {
		for _, pid := range ours {
			if p.Pid == pid {
				mine += p.Bytes
			}
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
		}
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
