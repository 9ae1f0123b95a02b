package main

import (
	"context"
	"log/slog"

	"modelops/actors/gpu"
	"modelops/actors/view"
	"modelops/bridges/config"
	"modelops/bridges/cpu"
	"modelops/bridges/nvml"
	"modelops/bridges/process"
	"modelops/bridges/sim"
	"modelops/messages"
)

// devices is the port that the device bridges fill.
type devices interface {
	gpu.Devices
	Status() string
	Close() error
}

// opener finds the devices of a host, by driver.
type opener func(context.Context, *config.Config, *view.Projection, *slog.Logger) ([]devices, error)

// openDevices chooses the host's devices: simulated ones when configured, else the processor with its RAM budget,
// and the GPUs where there are any.
func openDevices(ctx context.Context, cfg *config.Config, v *view.Projection, log *slog.Logger) ([]devices, error) {
	pids := func() []int64 { return gpu.WorkerPIDs(v.ModelsOf(cfg.Host)) }
	if len(cfg.Resources.Devices) > 0 {
		var ds []sim.Device
		for _, d := range cfg.Resources.Devices {
			ds = append(ds, sim.Device{ID: d.ID, CapacityBytes: uint64(d.CapacityMB) * messages.MiB})
		}
		simulated, err := sim.New(ds, sim.Options{Pids: pids, Footprint: func(pid int64) map[string]uint64 { return gpu.Reserved(v.ModelsOf(cfg.Host), pid) }})
		return []devices{simulated}, err
	}
	gpus := nvml.Open(ctx, nvml.Options{Log: log})
	readings, err := gpus.Read(ctx)
	if err != nil {
		return nil, err
	}
	ram := cpu.Open(cpu.Options{BudgetBytes: uint64(cfg.Resources.CPUBudgetMB) * messages.MiB, Pids: pids})
	if len(readings) > 0 {
		return []devices{gpus, ram}, nil
	}
	if err := gpus.Close(); err != nil {
		log.Warn("NVML didn't close", "error", err)
	}
	return []devices{ram}, nil
}

// sampler reads the devices for the ledgers.
func (d *daemon) newSampler() *gpu.Sampler {
	r := d.cfg.Resources
	return &gpu.Sampler{
		Host: d.host, Devices: d.devices, View: d.view, Door: d.tree, Log: d.log, Mine: process.SameGroup, Every: r.GPUPollInterval,
		MarginBytes: uint64(r.MarginMB) * messages.MiB, SoftLimitBytes: uint64(r.VRAMSoftLimitMB) * messages.MiB,
		Pressure: gpu.Pressure{ThresholdPct: r.EvictionThresholdPct, Foreign: d.cfg.Scheduler.ForeignPressure}, Life: d.life,
	}
}
