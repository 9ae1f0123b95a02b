package gpu

import (
	"strings"

	"modelops/messages"
)

// DeviceEnv binds a worker to its GPUs by UUID, in the order of its shares: indexes change when a card is added.
func DeviceEnv(p *messages.Placement, gpus []*messages.GpuView) []string {
	var uuids []string
	for _, part := range p.GetShares() {
		for _, g := range gpus {
			if g.Id == part.Gpu && (g.Kind == "cuda" || g.Kind == "unified") && g.Uuid != "" {
				uuids = append(uuids, g.Uuid)
			}
		}
	}
	if len(uuids) == 0 {
		return nil
	}
	return []string{"CUDA_VISIBLE_DEVICES=" + strings.Join(uuids, ",")}
}

// Reserved is what was reserved for a worker on each device, in bytes by the device's name: simulated devices take it for its use.
func Reserved(models []*messages.ModelView, pid int64) map[string]uint64 {
	return reservedOn(modelOf(models, pid).GetPlacement())
}

// ReservedFor is Reserved for a job's runner.
func ReservedFor(jobs []*messages.JobView, pid int64) map[string]uint64 {
	for _, j := range jobs {
		if runsHere(j) && j.Runner.Pid == pid {
			return reservedOn(j.Placement)
		}
	}
	return nil
}

func reservedOn(p *messages.Placement) map[string]uint64 {
	if p == nil {
		return nil
	}
	held := map[string]uint64{}
	for _, part := range p.GetShares() {
		if gpu, err := messages.ParseActorID(part.Gpu); err == nil {
			held[gpu.Name()] = part.Bytes
		}
	}
	return held
}

// modelOf is the placed model whose worker a process is; nil when there is none.
func modelOf(models []*messages.ModelView, pid int64) *messages.ModelView {
	for _, m := range models {
		if m.GetWorker().GetPid() == pid && m.GetPlacement() != nil {
			return m
		}
	}
	return nil
}

// onEach is what a worker holds of each share of its placement by the readings, in bytes.
func onEach(host string, p *messages.Placement, readings []*messages.DeviceReading, worker int64, mine func(pid, worker int64) bool) []uint64 {
	held := make([]uint64, len(p.GetShares()))
	for i, part := range p.GetShares() {
		for _, r := range readings {
			if messages.GPUActor(host, r.Device).String() == part.Gpu {
				held[i] += heldBy(r, worker, mine)
			}
		}
	}
	return held
}
