//go:build linux && cgo

package nvml

import (
	"fmt"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

func TestProcesses(t *testing.T) {
	const none = 0xFFFFFFFF
	whole := func(pid uint32, bytes uint64) nvml.ProcessInfo {
		return nvml.ProcessInfo{Pid: pid, UsedGpuMemory: bytes, GpuInstanceId: none, ComputeInstanceId: none}
	}
	slice := func(pid uint32, bytes uint64, gi uint32) nvml.ProcessInfo {
		return nvml.ProcessInfo{Pid: pid, UsedGpuMemory: bytes, GpuInstanceId: gi}
	}
	for name, tc := range map[string]struct {
		compute, graphics, mps []nvml.ProcessInfo
		refused                nvml.Return // what the graphics list answers
		want                   string
	}{
		"no process":              {want: "[]"},
		"foreign and ours":        {compute: []nvml.ProcessInfo{whole(9, 100), whole(2, 50)}, want: "[2:50 9:100]"},
		"in two lists":            {compute: []nvml.ProcessInfo{whole(2, 50)}, graphics: []nvml.ProcessInfo{whole(2, 60)}, want: "[2:60]"},
		"unknown isn't a number":  {compute: []nvml.ProcessInfo{whole(2, ^uint64(0)), whole(3, 7)}, want: "[2:0 3:7]"},
		"unknown in one of two":   {compute: []nvml.ProcessInfo{whole(2, ^uint64(0))}, graphics: []nvml.ProcessInfo{whole(2, 60)}, want: "[2:60]"},
		"only under MPS":          {mps: []nvml.ProcessInfo{whole(5, 9)}, want: "[5:9]"},
		"in two MIG instances":    {compute: []nvml.ProcessInfo{slice(5, 9, 1), slice(5, 4, 2)}, want: "[5:13]"},
		"a list is not supported": {compute: []nvml.ProcessInfo{whole(2, 50)}, graphics: []nvml.ProcessInfo{whole(8, 1)}, refused: nvml.ERROR_NOT_SUPPORTED, want: "[2:50]"},
		"a list is forbidden":     {graphics: []nvml.ProcessInfo{whole(8, 1)}, refused: nvml.ERROR_NO_PERMISSION, want: "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 1)
			r.card(0).GetComputeRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) { return tc.compute, nvml.SUCCESS }
			r.card(0).GetGraphicsRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) { return tc.graphics, tc.refused }
			r.card(0).GetMPSComputeRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) { return tc.mps, nvml.SUCCESS }
			readings, err := r.devices().Read(t.Context())
			if err != nil || len(readings) != 1 || readings[0].Lost {
				t.Fatal(readings, err)
			}
			got := []string{}
			for _, p := range readings[0].Processes {
				got = append(got, fmt.Sprintf("%d:%d", p.Pid, p.Bytes))
			}
			if fmt.Sprint(got) != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}
