//go:build linux && cgo

package nvml

import (
	"cmp"
	"slices"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"modelops/messages"
)

// unknownBytes is the driver's word for "I don't tell".
const unknownBytes = ^uint64(0)

// place is where a process holds memory: a GPU cut into MIG instances lists it once for each.
type place struct {
	pid               uint32
	instance, compute uint32
}

// processes merges the driver's lists, by pid. A process that computes and draws is in two of them with the same memory,
// so the larger figure counts, not the sum; its shares in several MIG instances are added.
func (p *probe) processes() []*messages.ProcessMemory {
	held := map[place]uint64{}
	for _, list := range p.lists() {
		for _, entry := range list {
			at := place{entry.Pid, entry.GpuInstanceId, entry.ComputeInstanceId}
			bytes := entry.UsedGpuMemory
			if bytes == unknownBytes {
				bytes = 0
			}
			held[at] = max(held[at], bytes)
		}
	}
	sums := map[int64]uint64{}
	for at, bytes := range held {
		sums[int64(at.pid)] += bytes
	}
	out := make([]*messages.ProcessMemory, 0, len(sums))
	for pid, bytes := range sums {
		out = append(out, &messages.ProcessMemory{Pid: pid, Bytes: bytes})
	}
	slices.SortFunc(out, func(a, b *messages.ProcessMemory) int { return cmp.Compare(a.Pid, b.Pid) })
	return out
}

func (p *probe) lists() [][]nvml.ProcessInfo {
	asks := []struct {
		symbol string
		ask    func() ([]nvml.ProcessInfo, nvml.Return)
	}{
		{"nvmlDeviceGetComputeRunningProcesses", p.device.GetComputeRunningProcesses},
		{"nvmlDeviceGetGraphicsRunningProcesses", p.device.GetGraphicsRunningProcesses},
		{"nvmlDeviceGetMPSComputeRunningProcesses", p.device.GetMPSComputeRunningProcesses},
	}
	var out [][]nvml.ProcessInfo
	for _, a := range asks {
		if !p.may(a.symbol, a.symbol+"_v2", a.symbol+"_v3") {
			continue
		}
		if list, r := a.ask(); p.ok(r) {
			out = append(out, list)
		}
	}
	return out
}
