package gpu

import (
	"context"
	"log/slog"
	"time"

	"modelops/messages"
)

// Views shows the models and ledgers, and takes the readings.
type Views interface {
	ModelsOf(host string) []*messages.ModelView
	GPU(id messages.ActorID) *messages.GpuView
	GPUs() []*messages.GpuView
	SetReading(gpu messages.ActorID, r *messages.DeviceReading)
}

// Sampler reads the devices of a host at intervals and passes the readings to their ledgers: the ledger decides which change is an event. All
// fields but Pressure, Jobs, Strays, Failed and Now are required.
type Sampler struct {
	Host    string
	Devices []Devices
	View    Views
	Door    messages.Door
	Log     *slog.Logger
	// Mine tells whether a process belongs to a worker, which leads a process group.
	Mine  func(pid, worker int64) bool
	Every time.Duration
	// MarginBytes and SoftLimitBytes bound what may be reserved of a GPU. The RAM budget is a limit by itself.
	MarginBytes    uint64
	SoftLimitBytes uint64
	Pressure       Pressure
	// Jobs shows the jobs that have memory; nil = there are none.
	Jobs func() []*messages.JobView
	// Strays are processes of workers that no model knows and that can't be ended; may be nil. A driver counts what they hold by itself.
	Strays func() []int64
	// Failed counts a reading that a device didn't give; the device is "" while none of its driver is known. May be nil.
	Failed func(device string)
	// Now is the steady clock by which a device that comes and goes is judged; nil is the process's own.
	Now func() time.Time
	// Life ends what the sampler waits for: the host ends, and asks again when it is back.
	Life context.Context

	drivers drivers
	roll    roll
	unseen  unseen
	flaps   flaps
}

func (s *Sampler) id(r *messages.DeviceReading) messages.ActorID {
	return messages.GPUActor(s.Host, r.Device)
}

// Run samples the devices until ctx ends.
func (s *Sampler) Run(ctx context.Context) {
	faults, stop := s.faults(ctx)
	defer stop()
	tick := time.NewTicker(s.Every)
	defer tick.Stop()
	for {
		s.Sample(ctx)
		select {
		case <-ctx.Done():
			return
		case f := <-faults:
			if s.worthTelling(f) {
				s.Door.Tell(ctx, messages.GPUActor(s.Host, f.Device), &messages.ReportFault{Fault: f})
			}
		case <-tick.C:
		}
	}
}

// Sample reads the devices once and tells what is seen. A device that answers for the first time is registered then.
func (s *Sampler) Sample(ctx context.Context) {
	readings, err := s.read(ctx)
	if err != nil {
		return
	}
	for _, r := range readings {
		if s.admit(ctx, r) {
			s.Observe(ctx, r)
			s.Relieve(ctx, r)
		}
	}
	s.miss(ctx, readings)
	if !s.troubled() { // each measurement would wait for the driver that doesn't answer
		s.remeasure(ctx)
	}
}

// Observe tells a device's ledger the reading, and how much of the use is foreign.
func (s *Sampler) Observe(ctx context.Context, r *messages.DeviceReading) {
	id := s.id(r)
	r = s.steady(id, r)
	s.View.SetReading(id, r)
	g := s.View.GPU(id)
	leased := clientLeases(g)
	if r.Kind == "simulated" { // a lease on a simulated device holds nothing that its ledger could see
		leased = 0
	}
	s.Door.Tell(ctx, id, &messages.ObserveDevice{Reading: r, ForeignBytes: foreign(r, s.occupants(g), leased, s.Mine) + s.strayRAM(r)})
}

// occupants are the processes of this host on a device.
func (s *Sampler) occupants(g *messages.GpuView) []occupant {
	out := occupants(s.View.ModelsOf(s.Host), g)
	if s.Jobs != nil {
		out = append(out, jobOccupants(s.Jobs(), g)...)
	}
	return out
}

// strayRAM is what unknown workers hold of RAM, in bytes. A reading of RAM has it only as far as it passes what the budget leaves to others.
func (s *Sampler) strayRAM(r *messages.DeviceReading) (bytes uint64) {
	if r.Kind != "cpu" || s.Strays == nil {
		return 0
	}
	for _, pid := range s.Strays() {
		current, _, _ := s.ram(pid) // one that has ended holds nothing
		bytes += current
	}
	return bytes
}

// Relieve asks for idle models to leave when the device is over its threshold.
func (s *Sampler) Relieve(ctx context.Context, r *messages.DeviceReading) {
	if relief := s.Pressure.relief(s.View.GPU(s.id(r))); relief != nil {
		s.Door.Tell(ctx, messages.ArbiterActor(), relief)
	}
}

// remeasure tells models whose workers grew: engines take memory after the load, for caches and graphs, and the peak is what counts.
func (s *Sampler) remeasure(ctx context.Context) {
	for _, m := range s.View.ModelsOf(s.Host) {
		if m.Phase != messages.ModelView_ready || m.GetWorker().GetRemote() {
			continue
		}
		bytes, err := s.Measure(ctx, m.GetWorker().GetPid())
		if err != nil || bytes <= m.MeasuredBytes {
			continue
		}
		s.Door.Tell(ctx, messages.ModelActor(s.Host, m.Name), &messages.ReportFootprint{Attempt: m.Attempt, Bytes: bytes})
	}
}
