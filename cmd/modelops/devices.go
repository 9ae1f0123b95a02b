package main

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"strings"

	"modelops/actors/gpu"
	"modelops/actors/view"
	"modelops/bridges/config"
	"modelops/bridges/cpu"
	"modelops/bridges/drm"
	"modelops/bridges/nvml"
	"modelops/bridges/process"
	"modelops/bridges/sim"
	"modelops/bridges/telemetry"
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

// openDevices chooses the host's devices: simulated ones when configured, else the processor with its RAM budget and the GPUs where there are
// any. ctx is the life of the devices. A device that can't be used ends no start.
func openDevices(ctx context.Context, cfg *config.Config, v *view.Projection, log *slog.Logger) ([]devices, error) {
	pids := func() []int64 {
		return append(gpu.WorkerPIDs(v.ModelsOf(cfg.Host)), gpu.RunnerPIDs(v.LiveJobsOf(cfg.Host))...)
	}
	if len(cfg.Resources.Devices) > 0 {
		var ds []sim.Device
		for _, d := range cfg.Resources.Devices {
			ds = append(ds, sim.Device{ID: d.ID, CapacityBytes: uint64(d.CapacityMB) * messages.MiB})
		}
		simulated, err := sim.New(ds, sim.Options{Pids: pids, Footprint: func(pid int64) map[string]uint64 {
			if held := gpu.ReservedFor(v.LiveJobsOf(cfg.Host), pid); held != nil {
				return held
			}
			return gpu.Reserved(v.ModelsOf(cfg.Host), pid)
		}})
		return []devices{simulated}, err
	}
	with := &sharedRAM{}
	ram := cpu.Open(cpu.Options{BudgetBytes: uint64(cfg.Resources.CPUBudgetMB) * messages.MiB, Pids: pids, Beside: with.held})
	gpus := nvml.Open(ctx, nvml.Options{Log: log, Visible: variable("CUDA_VISIBLE_DEVICES")})
	return []devices{gpuCards{gpus, with, ram}, kernelCards(), processor{ram, with}}, nil
}

// kernelCards are the AMD and Intel cards. Tests show them false ones in a folder.
func kernelCards() *drm.Devices {
	o := drm.Options{Env: map[string]string{}}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		o.Env[name] = value
	}
	if root := o.Env["MODELOPS_DRM_ROOT"]; root != "" {
		o.Root = os.DirFS(root)
	}
	return drm.Open(o)
}

// deviceEnv binds a worker to the devices of its placement, by the words of their vendor.
func (d *daemon) deviceEnv(p *messages.Placement) []string {
	env := gpu.DeviceEnv(p, d.view.ReadGPUs())
	var names []string
	for _, part := range p.GetShares() {
		if id, err := messages.ParseActorID(part.Gpu); err == nil {
			names = append(names, id.Name())
		}
	}
	for _, ds := range d.devices {
		if cards, ok := ds.(*drm.Devices); ok {
			env = append(env, cards.Env(names)...)
		}
	}
	return env
}

// variable is what the daemon's environment says; nil where it says nothing.
func variable(name string) *string {
	if text, set := os.LookupEnv(name); set {
		return &text
	}
	return nil
}

// troubles are the devices that can't be used, with the reasons. usable is false when this host has GPUs and none of them can be used: what was
// meant for them waits or fails.
func (d *daemon) troubles() (reasons []string, usable bool) {
	gpus, lost := 0, 0
	for _, g := range d.view.ReadGPUs() {
		if g.Host != d.host {
			continue
		}
		if g.Lost {
			reasons = append(reasons, "device "+g.Device+" can't be used: "+g.LostReason)
		}
		if g.Kind != "cpu" && g.CapacityBytes > 0 {
			gpus++
			if g.Lost {
				lost++
			}
		}
	}
	return slices.Concat(reasons, d.sampler.Troubles(), d.strays.Reasons()), gpus == 0 || lost < gpus
}

// sampler reads the devices for the ledgers.
func (d *daemon) newSampler() *gpu.Sampler {
	r := d.cfg.Resources
	return &gpu.Sampler{
		Host: d.host, Devices: d.devices, View: d.view, Jobs: d.liveJobs, Door: d.tree, Log: telemetry.Seldom(d.log), Failed: d.metrics.DeviceNotRead, Mine: process.SameGroup, Every: r.GPUPollInterval,
		MarginBytes: uint64(r.MarginMB) * messages.MiB, SoftLimitBytes: uint64(r.VRAMSoftLimitMB) * messages.MiB,
		Pressure: gpu.Pressure{ThresholdPct: r.EvictionThresholdPct, Foreign: d.cfg.Scheduler.ForeignPressure}, Strays: d.strays.Living, Life: d.life,
	}
}
