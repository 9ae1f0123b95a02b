package gpu

import (
	"cmp"

	"modelops/messages"
)

// occupant is a worker or a job's runner of this host on a device.
type occupant struct {
	pid int64
	// lease is what the device's ledger counts for it, in bytes; 0 while it isn't known to have taken its memory.
	lease uint64
}

// occupants are the local workers on a device.
func occupants(models []*messages.ModelView, gpu *messages.GpuView) []occupant {
	var out []occupant
	for _, m := range models {
		w := m.GetWorker()
		if _, there := m.GetPlacement().On(gpu.GetId()); w == nil || w.Remote || !there {
			continue
		}
		o := occupant{pid: w.Pid}
		for _, r := range gpu.GetReservations() {
			if r.Holder == m.Id && m.Phase != messages.ModelView_loading {
				o.lease = cmp.Or(r.MeasuredBytes, r.Bytes)
			}
		}
		out = append(out, o)
	}
	return out
}

// jobOccupants are the runners of local jobs on a device. Those of runs at another engine are not here.
func jobOccupants(jobs []*messages.JobView, gpu *messages.GpuView) (out []occupant) {
	for _, j := range jobs {
		if _, there := j.GetPlacement().On(gpu.GetId()); !there || !runsHere(j) {
			continue
		}
		o := occupant{pid: j.Runner.Pid}
		for _, r := range gpu.GetReservations() {
			if r.Holder == j.Id {
				o.lease = cmp.Or(r.MeasuredBytes, r.Bytes)
			}
		}
		out = append(out, o)
	}
	return out
}

func runsHere(j *messages.JobView) bool { return j.GetRunner() != nil && j.Runner.AttachedId == "" }

// RunnerPIDs are the processes of the local jobs' runners.
func RunnerPIDs(jobs []*messages.JobView) (out []int64) {
	for _, j := range jobs {
		if runsHere(j) {
			out = append(out, j.Runner.Pid)
		}
	}
	return out
}

// foreign is what a device holds beside the workers of this host and the leases of programs that announced themselves, in bytes. In a
// container the driver doesn't tell which of its processes are ours: a worker without a figure counts with its lease, because it would count
// twice otherwise. mine tells whether a process belongs to a worker.
func foreign(r *messages.DeviceReading, workers []occupant, leased uint64, mine func(pid, worker int64) bool) uint64 {
	ours := leased
	for _, o := range workers {
		ours += cmp.Or(heldBy(r, o.pid, mine), o.lease)
	}
	return r.UsedBytes - min(ours, r.UsedBytes)
}

// heldBy is what the driver reports for a worker and its children, in bytes.
func heldBy(r *messages.DeviceReading, worker int64, mine func(pid, worker int64) bool) (bytes uint64) {
	for _, p := range r.GetProcesses() {
		if p.Pid == worker || mine(p.Pid, worker) {
			bytes += p.Bytes
		}
	}
	return bytes
}

// clientLeases is what programs hold of a device by lease, in bytes: known, so not foreign.
func clientLeases(g *messages.GpuView) uint64 {
	var sum uint64
	for _, r := range g.GetReservations() {
		if id, err := messages.ParseActorID(r.Holder); err != nil || !messages.Holds(id.Kind) {
			sum += r.Bytes
		}
	}
	return sum
}

// WorkerPIDs are the processes of the local workers.
func WorkerPIDs(models []*messages.ModelView) []int64 {
	var out []int64
	for _, m := range models {
		if w := m.GetWorker(); w != nil && !w.Remote {
			out = append(out, w.Pid)
		}
	}
	return out
}
