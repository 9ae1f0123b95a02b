package gpu

import (
	"testing"

	"pgregory.net/rapid"

	"modelops/messages"
)

// alone: no process has children.
func alone(int64, int64) bool { return false }

// family: a process belongs to the worker whose number it begins with.
func family(pid, worker int64) bool { return pid/10 == worker }

func TestForeign(t *testing.T) {
	process := func(pid int64, bytes uint64) *messages.ProcessMemory {
		return &messages.ProcessMemory{Pid: pid, Bytes: bytes}
	}
	for name, c := range map[string]struct {
		used      uint64
		processes []*messages.ProcessMemory
		workers   []occupant
		leased    uint64
		want      uint64
	}{
		"an empty device":                   {},
		"no worker of this host":            {used: 5, want: 5},
		"a worker the driver names":         {used: 9, processes: []*messages.ProcessMemory{process(1, 6)}, workers: []occupant{{1, 4}}, want: 3},
		"its children count":                {used: 9, processes: []*messages.ProcessMemory{process(1, 2), process(11, 3), process(22, 4)}, workers: []occupant{{1, 9}}, want: 4},
		"a worker the driver doesn't name":  {used: 9, workers: []occupant{{1, 4}}, want: 5},
		"one that has taken nothing yet":    {used: 9, workers: []occupant{{1, 0}}, want: 9},
		"a program that announced itself":   {used: 9, leased: 6, want: 3},
		"less used than leased":             {used: 5, leased: 6},
		"less used than the workers' lease": {used: 5, workers: []occupant{{1, 4}, {2, 4}}},
	} {
		t.Run(name, func(t *testing.T) {
			got := foreign(&messages.DeviceReading{UsedBytes: c.used, Processes: c.processes}, c.workers, c.leased, family)
			if got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
		})
	}
}

// Foreign memory is never more than what is used, and a driver that doesn't name our processes changes nothing when the leases are right.
func TestForeignIsWhatIsNotOurs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		others, leased := rapid.Uint64Range(0, 1000).Draw(t, "others"), rapid.Uint64Range(0, 1000).Draw(t, "leased")
		seen, blind := &messages.DeviceReading{}, &messages.DeviceReading{}
		seen.UsedBytes = others + leased
		var workers []occupant
		for pid := range rapid.Int64Range(0, 4).Draw(t, "workers") {
			bytes := rapid.Uint64Range(1, 1000).Draw(t, "bytes")
			workers = append(workers, occupant{pid, bytes})
			seen.Processes = append(seen.Processes, &messages.ProcessMemory{Pid: pid, Bytes: bytes})
			seen.UsedBytes += bytes
		}
		blind.UsedBytes = seen.UsedBytes
		if got := foreign(seen, workers, leased, alone); got != others {
			t.Fatalf("%d, want %d", got, others)
		}
		if got := foreign(blind, workers, leased, alone); got != others {
			t.Fatalf("blind %d, want %d", got, others)
		}
		if got := foreign(seen, workers, 1e6, alone); got > seen.UsedBytes {
			t.Fatalf("%d of %d", got, seen.UsedBytes)
		}
	})
}

func TestOccupantsAndLeases(t *testing.T) {
	on := func(id string, phase messages.ModelView_Phase, pid int64, remote bool, gpus ...string) *messages.ModelView {
		p := &messages.Placement{}
		for _, g := range gpus {
			p.Shares = append(p.Shares, &messages.Share{Gpu: g, Bytes: 1})
		}
		return &messages.ModelView{Id: id, Phase: phase, Placement: p, Worker: &messages.Worker{Pid: pid, Remote: remote}}
	}
	models := []*messages.ModelView{
		on("model/h/a", messages.ModelView_ready, 1, false, "gpu/h/0"), on("model/h/loads", messages.ModelView_loading, 2, false, "gpu/h/0", "gpu/h/1"), on("model/h/measured", messages.ModelView_ready, 3, false, "gpu/h/0"),
		on("model/h/elsewhere", messages.ModelView_ready, 4, false, "gpu/h/1"), on("model/h/remote", messages.ModelView_ready, 5, true, "gpu/h/0"), {Id: "model/h/idle"},
	}
	g := &messages.GpuView{Id: "gpu/h/0", Reservations: []*messages.Reservation{
		{Holder: "model/h/a", Bytes: 7}, {Holder: "model/h/loads", Bytes: 8}, {Holder: "model/h/measured", Bytes: 9, MeasuredBytes: 5},
		{Holder: "client/python", Bytes: 3}, {Holder: "client/another", Bytes: 4},
	}}
	jobs := []*messages.JobView{
		{Id: "job/h/tune", Placement: models[0].Placement, Runner: &messages.Runner{Pid: 6}}, {Id: "job/h/elsewhere", Placement: models[3].Placement, Runner: &messages.Runner{Pid: 7}},
		{Id: "job/h/starts", Placement: models[0].Placement}, {Id: "job/h/ray", Placement: models[0].Placement, Runner: &messages.Runner{Pid: 8, AttachedId: "raysubmit_1"}}, {Id: "job/h/waits"},
	}
	g.Reservations = append(g.Reservations, &messages.Reservation{Holder: "job/h/tune", Bytes: 6})
	if got := jobOccupants(jobs, g); len(got) != 1 || got[0] != (occupant{6, 6}) {
		t.Errorf("jobs %v", got)
	}
	if pids := RunnerPIDs(jobs); len(pids) != 2 || pids[1] != 7 {
		t.Errorf("runners %v", pids)
	}
	if held := ReservedFor(jobs, 7); len(held) != 1 || held["1"] != 1 || ReservedFor(jobs, 9) != nil {
		t.Errorf("a job holds %v", held)
	}
	got := occupants(models, g)
	if want := []occupant{{1, 7}, {2, 0}, {3, 5}}; len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("%v", got)
	}
	if sum := clientLeases(g); sum != 7 {
		t.Errorf("programs hold %d", sum)
	}
	if pids := WorkerPIDs(models); len(pids) != 4 || pids[3] != 4 {
		t.Errorf("workers %v", pids)
	}
}

func TestRelief(t *testing.T) {
	for name, c := range map[string]struct {
		pressure Pressure
		gpu      *messages.GpuView
		level    uint64 // 0 = nothing is asked for
	}{
		"below the threshold":               {Pressure{ThresholdPct: 90}, &messages.GpuView{LimitBytes: 1000, ReservedBytes: 900}, 0},
		"above it":                          {Pressure{ThresholdPct: 90}, &messages.GpuView{LimitBytes: 1000, ReservedBytes: 901}, 720},
		"foreign memory doesn't count":      {Pressure{ThresholdPct: 90}, &messages.GpuView{LimitBytes: 1000, ReservedBytes: 500, ForeignBytes: 500}, 0},
		"it is no reason to leave":          {Pressure{ThresholdPct: 90}, &messages.GpuView{LimitBytes: 1000, ReservedBytes: 950, ForeignBytes: 50}, 770},
		"foreign memory counts where asked": {Pressure{90, true}, &messages.GpuView{LimitBytes: 1000, ReservedBytes: 500, ForeignBytes: 500}, 720},
		"RAM without a soft limit":          {Pressure{ThresholdPct: 90}, &messages.GpuView{Kind: "cpu", LimitBytes: 1000, ReservedBytes: 950}, 0},
		"RAM with one":                      {Pressure{ThresholdPct: 90}, &messages.GpuView{Kind: "cpu", LimitBytes: 1000, SoftLimitBytes: 1000, ReservedBytes: 950}, 720},
		"no ledger":                         {Pressure{ThresholdPct: 90}, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.pressure.relief(c.gpu).GetLevelBytes(); got != c.level {
				t.Errorf("down to %d, want %d", got, c.level)
			}
		})
	}
}

func TestDeviceEnv(t *testing.T) {
	gpus := []*messages.GpuView{{Id: "gpu/h/0", Kind: "cuda", Uuid: "GPU-0"}, {Id: "gpu/h/1", Kind: "cuda", Uuid: "GPU-1"}, {Id: "gpu/h/cpu", Kind: "cpu", Uuid: "CPU-0"},
		{Id: "gpu/h/2", Kind: "cuda"}}
	on := func(ids ...string) *messages.Placement {
		p := &messages.Placement{}
		for _, id := range ids {
			p.Shares = append(p.Shares, &messages.Share{Gpu: id})
		}
		return p
	}
	if got := DeviceEnv(on("gpu/h/1", "gpu/h/2", "gpu/h/0"), gpus); len(got) != 1 || got[0] != "CUDA_VISIBLE_DEVICES=GPU-1,GPU-0" {
		t.Errorf("%q", got)
	}
	if got := DeviceEnv(on("gpu/h/cpu"), gpus); got != nil {
		t.Errorf("%q", got)
	}
}
