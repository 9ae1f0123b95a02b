//go:build linux && cgo

package nvml

import (
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxa100"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a driver whose moods a test sets. Every call checks that the library is open: what a closed one answers
// says nothing about the devices.
type rig struct {
	*dgxa100.Server
	Devices []nvml.Device
	t       *testing.T
	events  chan news
	logged  *tape

	mu      sync.Mutex
	open    bool
	inits   []time.Time
	driver  nvml.Return            // what Init and every call answer
	cards   map[string]nvml.Return // what calls to one UUID answer
	waiting bool
	waits   int
	deaf    bool // every wait fails at once
}

func newRig(t *testing.T, count int) *rig {
	t.Helper()
	s := dgxa100.New()
	s.DriverVersion, s.NvmlVersion = "580.1", "13.580.1"
	r := &rig{Server: s, t: t, events: make(chan news), cards: map[string]nvml.Return{}, logged: &tape{}}
	s.InitFunc = r.init
	s.ShutdownFunc = r.shutdown
	s.DeviceGetCountFunc = func() (int, nvml.Return) { return len(r.Devices), r.answer("") }
	s.DeviceGetHandleByIndexFunc = func(i int) (nvml.Device, nvml.Return) {
		return r.Devices[i], r.answer(r.card(i).UUID)
	}
	s.EventSetCreateFunc = func() (nvml.EventSet, nvml.Return) {
		return &mock.EventSet{WaitFunc: r.wait, FreeFunc: func() nvml.Return { return r.answer("") }}, r.answer("")
	}
	for i := range count {
		r.Devices = append(r.Devices, dgxa100.NewDevice(i))
		r.equip(r.card(i))
	}
	return r
}

func (r *rig) card(i int) *dgxa100.Device { return r.Devices[i].(*dgxa100.Device) }

// equip gives a device all that a data centre's card answers.
func (r *rig) equip(d *dgxa100.Device) {
	ask := func() nvml.Return { return r.answer(d.UUID) }
	none := func() ([]nvml.ProcessInfo, nvml.Return) { return nil, ask() }
	d.GetMemoryInfo_v2Func = func() (nvml.Memory_v2, nvml.Return) {
		return nvml.Memory_v2{Total: 80 << 30, Reserved: 1 << 30, Used: 5 << 30, Free: 74 << 30}, ask()
	}
	d.GetMigModeFunc = func() (int, int, nvml.Return) { return 0, 0, nvml.ERROR_NOT_SUPPORTED }
	d.GetComputeRunningProcessesFunc, d.GetGraphicsRunningProcessesFunc, d.GetMPSComputeRunningProcessesFunc = none, none, none
	d.GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) { return nvml.Utilization{Gpu: 41}, ask() }
	d.GetTemperatureFunc = func(nvml.TemperatureSensors) (uint32, nvml.Return) { return 66, ask() }
	d.GetPowerUsageFunc = func() (uint32, nvml.Return) { return 123_456, ask() }
	d.GetEccModeFunc = func() (nvml.EnableState, nvml.EnableState, nvml.Return) {
		return nvml.FEATURE_ENABLED, nvml.FEATURE_ENABLED, ask()
	}
	d.GetTotalEccErrorsFunc = func(nvml.MemoryErrorType, nvml.EccCounterType) (uint64, nvml.Return) { return 3, ask() }
	d.GetSupportedEventTypesFunc = func() (uint64, nvml.Return) { return wanted, ask() }
	d.RegisterEventsFunc = func(uint64, nvml.EventSet) nvml.Return { return ask() }
}

func (r *rig) init() nvml.Return {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inits = append(r.inits, time.Now())
	r.open = r.driver == nvml.SUCCESS
	return r.driver
}

func (r *rig) shutdown() nvml.Return {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.open {
		r.t.Error("Shutdown without a good Init")
	}
	if r.waiting {
		r.t.Error("Shutdown while a wait for events is under way")
	}
	r.open = false
	return nvml.SUCCESS
}

func (r *rig) answer(uuid string) nvml.Return {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.open {
		r.t.Error("a call into a library that isn't open")
	}
	if r.driver != nvml.SUCCESS {
		return r.driver
	}
	return r.cards[uuid]
}

func (r *rig) wait(milliseconds uint32) (nvml.EventData, nvml.Return) {
	r.answer("")
	if milliseconds != waitMilliseconds {
		r.t.Errorf("a wait of %d ms", milliseconds)
	}
	defer r.setWaiting(false)
	if r.setWaiting(true) {
		return nvml.EventData{}, nvml.ERROR_GPU_IS_LOST
	}
	select {
	case n := <-r.events:
		return n.event, n.ret
	case <-time.After(20 * time.Millisecond): // meant to pass: shorter than asked, for tests that run in real time
		return nvml.EventData{}, nvml.ERROR_TIMEOUT
	}
}

// setWaiting says whether the wait fails.
func (r *rig) setWaiting(now bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting = now; now {
		r.waits++
	}
	return r.deaf
}

func (r *rig) setDriver(now nvml.Return) { r.mu.Lock(); r.driver = now; r.mu.Unlock() }

func (r *rig) setCard(i int, now nvml.Return) {
	r.mu.Lock()
	r.cards[r.card(i).UUID] = now
	r.mu.Unlock()
}

// pauses are the seconds between the Inits so far.
func (r *rig) pauses() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := []int{}
	for i := 1; i < len(r.inits); i++ {
		out = append(out, int(r.inits[i].Sub(r.inits[i-1])/time.Second))
	}
	return out
}

func (r *rig) devices() *Devices {
	d := openWith(r.t.Context(), r, Options{Log: slog.New(slog.NewTextHandler(r.logged, nil))})
	r.t.Cleanup(func() {
		if err := d.Close(); err != nil {
			r.t.Error(err)
		}
	})
	return d
}

// tape keeps the log.
type tape struct {
	mu   sync.Mutex
	text []byte
}

func (w *tape) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, p...)
	return len(p), nil
}

func (w *tape) String() string { w.mu.Lock(); defer w.mu.Unlock(); return string(w.text) }

// look is what a test compares of the readings.
func look(t *testing.T, d *Devices) string {
	t.Helper()
	readings, err := d.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := ""
	for _, m := range readings {
		out += fmt.Sprintf("%s %dG", m.Device, m.CapacityBytes>>30)
		if m.Lost {
			out += " lost: " + m.LostReason
		}
		out += "\n"
	}
	return out
}
