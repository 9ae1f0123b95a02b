package gpu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// bench is a host with one device, a view that the test writes, and a door that notes what is told.
type bench struct {
	mu       sync.Mutex
	reading  *messages.DeviceReading
	broken   error
	faults   chan *messages.DeviceFault
	models   []*messages.ModelView
	gpu      *messages.GpuView
	readings int
	told     []string
	refuse   error
}

func (b *bench) Read(context.Context) ([]*messages.DeviceReading, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken != nil {
		return nil, b.broken
	}
	return []*messages.DeviceReading{proto.CloneOf(b.reading)}, nil
}
func (b *bench) Faults() <-chan *messages.DeviceFault  { return b.faults }
func (b *bench) ModelsOf(string) []*messages.ModelView { return b.models }
func (b *bench) GPU(messages.ActorID) *messages.GpuView {
	return b.gpu
}
func (b *bench) GPUs() []*messages.GpuView { return []*messages.GpuView{b.gpu} }
func (b *bench) SetReading(messages.ActorID, *messages.DeviceReading) {
	b.readings++
}
func (b *bench) Ask(ctx context.Context, to messages.ActorID, m proto.Message) (messages.Reply, error) {
	b.Tell(ctx, to, m)
	return messages.Reply{}, b.refuse
}
func (b *bench) Tell(_ context.Context, to messages.ActorID, m proto.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	line := to.String() + " " + string(m.ProtoReflect().Descriptor().Name())
	switch m := m.(type) {
	case *messages.ObserveDevice:
		line += fmt.Sprint(" foreign ", m.ForeignBytes)
		if m.Reading.Lost {
			line += ", lost: " + m.Reading.LostReason
		}
	case *messages.RelievePressure:
		line += fmt.Sprint(" to ", m.LevelBytes)
	case *messages.ReportFootprint:
		line += fmt.Sprint(" ", m.Bytes)
	case *messages.RegisterDevice:
		line += fmt.Sprint(" margin ", m.MarginBytes)
	}
	b.told = append(b.told, line)
}

// heard are the commands since the last call.
func (b *bench) heard() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := strings.Join(b.told, "; ")
	b.told = nil
	return out
}

func (b *bench) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

// sampler is one on a card with a ready worker of 60 bytes, whose pid is 7.
func sampler(log *bytes.Buffer) (*Sampler, *bench) {
	b := &bench{
		reading: &messages.DeviceReading{Device: "gpu0", Kind: "cuda", CapacityBytes: 1000, UsedBytes: 60, Processes: []*messages.ProcessMemory{{Pid: 7, Bytes: 60}}},
		faults:  make(chan *messages.DeviceFault),
		gpu:     &messages.GpuView{Id: "gpu/h/gpu0", Host: "h", Device: "gpu0", Kind: "cuda", CapacityBytes: 1000, LimitBytes: 1000, ReservedBytes: 60},
		models: []*messages.ModelView{{Id: "model/h/a", Name: "a", Phase: messages.ModelView_ready, MeasuredBytes: 60, Worker: &messages.Worker{Pid: 7},
			Placement: &messages.Placement{Id: "p1", Shares: []*messages.Share{{Gpu: "gpu/h/gpu0", Bytes: 60}}, DeviceKind: "cuda"}}},
	}
	return &Sampler{Host: "h", Devices: []Devices{b}, View: b, Door: b, Log: slog.New(slog.NewTextHandler(log, nil)), Mine: alone, Every: time.Second,
		MarginBytes: 5, Pressure: Pressure{ThresholdPct: 90}, Life: context.Background()}, b
}

// The ledger gets each reading, the scheduler pressure, the model growth, and the ledger faults at once.
func TestSamplerTellsWhatIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s, b := sampler(&log)
		ctx, end := context.WithCancel(t.Context())
		go s.Run(ctx)
		synctest.Wait()
		hears := func(what, want string) {
			t.Helper()
			if got := b.heard(); got != want {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		hears("at the start", "gpu/h/gpu0 ObserveDevice foreign 0")
		next := func() { time.Sleep(time.Second); synctest.Wait() }
		b.set(func() { b.reading.UsedBytes = 90 })
		next()
		hears("foreign use", "gpu/h/gpu0 ObserveDevice foreign 30")
		b.set(func() { b.gpu.ReservedBytes = 910 })
		next()
		hears("pressure", "gpu/h/gpu0 ObserveDevice foreign 30; arbiter RelievePressure to 720")
		b.set(func() { b.gpu.ReservedBytes, b.reading.UsedBytes, b.reading.Processes[0].Bytes = 60, 70, 70 })
		next()
		hears("growth", "gpu/h/gpu0 ObserveDevice foreign 0; model/h/a ReportFootprint 70")
		b.set(func() { b.models[0].MeasuredBytes = 70 })
		b.faults <- &messages.DeviceFault{Device: "gpu0"}
		synctest.Wait()
		hears("a fault", "gpu/h/gpu0 ReportFault; gpu/h/gpu0 ObserveDevice foreign 0")
		b.set(func() { b.broken = errors.New("the driver is gone") })
		next()
		hears("nothing to read", "gpu/h/gpu0 ObserveDevice foreign 0, lost: it can't be read: the driver is gone")
		next()
		next()
		if n := strings.Count(log.String(), "the driver is gone"); n != 1 {
			t.Errorf("three samples, and the log says it %d times: %s", n, &log)
		}
		b.heard()
		b.set(func() { b.broken = nil })
		next()
		hears("it can be read again", "gpu/h/gpu0 ObserveDevice foreign 0")
		end()
		synctest.Wait()
	})
}

// On simulated devices a lease of a program holds nothing that the ledger could see.
func TestLeasesOnSimulatedDevices(t *testing.T) {
	for kind, want := range map[string]string{"simulated": "foreign 20", "cuda": "foreign 15"} {
		s, b := sampler(&bytes.Buffer{})
		b.reading.Kind, b.reading.UsedBytes = kind, 80
		b.gpu.Reservations = []*messages.Reservation{{Holder: "client/x", Bytes: 5}}
		s.Observe(t.Context(), b.reading)
		if got := b.heard(); !strings.HasSuffix(got, want) {
			t.Errorf("%s: %q", kind, got)
		}
	}
}

// The GPUs and the processor of a host are devices of two drivers: both are read, either may report faults, and RAM is asked of the processor.
func TestSeveralDrivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := sampler(&bytes.Buffer{})
		ram := &bench{reading: &messages.DeviceReading{Device: "cpu", Kind: "cpu", CapacityBytes: 1000}, faults: make(chan *messages.DeviceFault, 1)}
		b.faults = make(chan *messages.DeviceFault, 1)
		s.Devices = append(s.Devices, withRAM{ram})
		if err := s.Register(t.Context()); err != nil || b.heard() != "gpu/h/gpu0 RegisterDevice margin 5; gpu/h/cpu RegisterDevice margin 0" {
			t.Error(err)
		}
		if on, err := s.Measure(t.Context(), 7); err != nil || on != 60 {
			t.Errorf("on the card: %d, %v", on, err)
		}
		if _, peak, err := s.ram(7); err != nil || peak != 9 {
			t.Errorf("of RAM: %d, %v", peak, err)
		}
		ctx, end := context.WithCancel(t.Context())
		go s.Run(ctx)
		for _, d := range []*bench{b, ram} {
			synctest.Wait()
			b.heard()
			d.faults <- &messages.DeviceFault{Device: d.reading.Device}
			synctest.Wait()
			if got := b.heard(); !strings.HasPrefix(got, "gpu/h/"+d.reading.Device+" ReportFault; ") {
				t.Errorf("after a fault of %s: %q", d.reading.Device, got)
			}
		}
		close(b.faults) // its driver ends first
		end()
		synctest.Wait()
		b.heard()
		b.set(func() { b.broken = errors.New("gone") })
		s.Sample(t.Context())
		if got := b.heard(); got != "gpu/h/gpu0 ObserveDevice foreign 0, lost: it can't be read: gone; gpu/h/cpu ObserveDevice foreign 0" {
			t.Errorf("one driver can't be read, and the other one is: %q", got)
		}
	})
}

// A driver that hangs is given up after a while, and the other one is read.
func TestADriverThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s, b := sampler(&log)
		s.Devices = []Devices{hangs{b}, b}
		began := time.Now()
		s.Sample(t.Context())
		if got := b.heard(); got != "gpu/h/gpu0 ObserveDevice foreign 0" || time.Since(began) != answerWithin {
			t.Errorf("after %s: %q", time.Since(began), got)
		}
		if got := s.Troubles(); len(got) != 1 || !strings.Contains(got[0], "doesn't answer within 5s") {
			t.Errorf("%q", got)
		}
	})
}

type hangs struct{ *bench }

func (hangs) Read(ctx context.Context) ([]*messages.DeviceReading, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestRegister(t *testing.T) {
	s, b := sampler(&bytes.Buffer{})
	if err := s.Register(t.Context()); err != nil || b.heard() != "gpu/h/gpu0 RegisterDevice margin 5" || b.readings != 1 {
		t.Errorf("%v", err)
	}
	b.reading.Kind = "cpu"
	if err := s.Register(t.Context()); err != nil || b.heard() != "gpu/h/gpu0 RegisterDevice margin 0" {
		t.Errorf("%v", err)
	}
	b.refuse = messages.NewError(messages.InvalidArgument, "gpu/h/gpu0", "no")
	if err := s.Register(t.Context()); !errors.Is(err, b.refuse) {
		t.Errorf("%v", err)
	}
	b.refuse, b.broken = nil, errors.New("gone")
	if err := s.Register(t.Context()); err != nil {
		t.Errorf("a driver that can't be read ends the start: %v", err)
	}
}

// A device that can't be used has no ledger until it can; one that no driver lists any more grants nothing.
func TestDevicesThatCantBeUsed(t *testing.T) {
	s, b := sampler(&bytes.Buffer{})
	is := func(what, want string) {
		t.Helper()
		if got := b.heard(); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	known := b.gpu
	b.gpu, b.reading.CapacityBytes, b.reading.Lost, b.reading.LostReason = &messages.GpuView{}, 0, true, "the driver was updated"
	if err := s.Register(t.Context()); err != nil {
		t.Error(err)
	}
	s.Sample(t.Context())
	is("at the start", "")
	b.reading.CapacityBytes, b.reading.Lost = 1000, false
	s.Sample(t.Context())
	is("it can be used", "gpu/h/gpu0 RegisterDevice margin 5; gpu/h/gpu0 ObserveDevice foreign 60")
	b.gpu, b.reading.Lost, b.reading.UsedBytes = known, true, 0
	if err := s.Register(t.Context()); err != nil {
		t.Error(err)
	}
	is("its ledger is there at the next start", "gpu/h/gpu0 ObserveDevice foreign 0, lost: the driver was updated")
	b.reading.Lost, b.reading.Device = false, "gpu7"
	b.gpu = proto.CloneOf(known)
	s.Sample(t.Context())
	if got := b.heard(); !strings.HasSuffix(got, "gpu/h/gpu0 ObserveDevice foreign 0, lost: "+unlisted) {
		t.Errorf("another device is there: %q", got)
	}
}

// A capacity that jumps is believed when two readings in a row say the same; a little is no news.
func TestCapacityThatJumps(t *testing.T) {
	s, b := sampler(&bytes.Buffer{})
	b.gpu.CapacityBytes, b.gpu.LimitBytes = 24*messages.GiB, 24*messages.GiB
	for i, c := range []struct {
		capacity uint64
		believed bool
	}{{24*messages.GiB - 5, false}, {8 * messages.GiB, false}, {24 * messages.GiB, false}, {12 * messages.GiB, false}, {16 * messages.GiB, false}, {16 * messages.GiB, true}} {
		b.reading.CapacityBytes = c.capacity
		s.Sample(t.Context())
		if got := strings.Contains(b.heard(), "RegisterDevice"); got != c.believed {
			t.Errorf("reading %d: registered %t", i, got)
		}
	}
}

func TestFootprints(t *testing.T) {
	s, b := sampler(&bytes.Buffer{})
	m := b.models[0]
	is := func(what string, got, want any, err error) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) || err != nil {
			t.Errorf("%s: %v, %v, want %v", what, got, err, want)
		}
	}
	all, err := s.Measure(t.Context(), 7)
	is("on a card", all, 60, err)
	is("of each device", s.Held(t.Context(), m.Placement), []uint64{60}, nil)
	_, known, err := s.Asleep(7)
	is("only its engine knows what it holds asleep", known, false, err)
	m.Placement.Shares = []*messages.Share{{Gpu: "gpu/h/gpu1", Bytes: 20}, {Gpu: "gpu/h/gpu0", Bytes: 40}}
	is("in the order of the shares", s.Held(t.Context(), m.Placement), []uint64{0, 60}, nil)
	is("reserved by device", Reserved(b.models, 7), map[string]uint64{"gpu0": 40, "gpu1": 20}, nil)
	is("a process of no worker", Reserved(b.models, 8), map[string]uint64(nil), nil)
	m.Placement.DeviceKind = "simulated"
	all, err = s.Measure(t.Context(), 7)
	is("simulated", all, 60, err)
	is("simulated, of each", s.Held(t.Context(), m.Placement), []uint64{20, 40}, nil)
	asleep, known, err := s.Asleep(7)
	is("simulated, asleep", fmt.Sprint(asleep, known), "0 true", err)
	m.Placement.DeviceKind = "cpu"
	all, err = s.Measure(t.Context(), 7)
	is("no processor", all, 0, err)
	s.Devices = []Devices{withRAM{b}}
	all, err = s.Measure(t.Context(), 7)
	is("RAM at its peak", all, 9, err)
	asleep, known, err = s.Asleep(7)
	is("RAM while asleep", fmt.Sprint(asleep, known), "3 true", err)
}

type withRAM struct{ *bench }

func (withRAM) Footprint(int64) (current, peak uint64, err error) { return 3, 9, nil }
