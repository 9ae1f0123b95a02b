//go:build linux && cgo

package nvml

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxa100"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

func TestReadingOfADataCentreCard(t *testing.T) {
	r := newRig(t, 2)
	r.card(0).GetComputeRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) {
		return []nvml.ProcessInfo{{Pid: 42, UsedGpuMemory: 2 << 30}, {Pid: 7, UsedGpuMemory: 1 << 30}}, nvml.SUCCESS
	}
	d := r.devices()
	readings, err := d.Read(t.Context())
	if err != nil || len(readings) != 2 {
		t.Fatal(readings, err)
	}
	want := &messages.DeviceReading{
		Device: "gpu0", Kind: "cuda", Name: r.card(0).Name, Uuid: r.card(0).UUID,
		CapacityBytes: 79 << 30, UsedBytes: 5 << 30, UtilizationPct: 41, TemperatureC: 66, PowerWatts: 123.456, EccErrors: 3,
		Processes: []*messages.ProcessMemory{{Pid: 7, Bytes: 1 << 30}, {Pid: 42, Bytes: 2 << 30}},
	}
	if !proto.Equal(readings[0], want) {
		t.Errorf("got  %v\nwant %v", readings[0], want)
	}
	if readings[1].Device != "gpu1" || readings[1].Uuid != r.card(1).UUID {
		t.Errorf("second device: %v", readings[1])
	}
	if got, want := d.Status(), "NVML 13.580.1, driver 580.1, 2 devices"; got != want {
		t.Errorf("status %q, want %q", got, want)
	}
}

// A consumer's card refuses much of it, and an older driver lacks symbols: those may not even be called.
func TestValuesThatAreNotThere(t *testing.T) {
	r := newRig(t, 1)
	missing := []string{"nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetMPSComputeRunningProcesses",
		"nvmlDeviceGetMPSComputeRunningProcesses_v2", "nvmlDeviceGetMPSComputeRunningProcesses_v3", "nvmlDeviceGetTemperature"}
	r.LookupSymbolFunc = func(symbol string) error {
		if slices.Contains(missing, symbol) {
			return errors.New("undefined symbol")
		}
		return nil
	}
	card := r.card(0)
	card.GetMemoryInfo_v2Func, card.GetMPSComputeRunningProcessesFunc, card.GetTemperatureFunc = nil, nil, nil // a call panics
	card.GetMemoryInfoFunc = func() (nvml.Memory, nvml.Return) { return nvml.Memory{Total: 24 << 30, Used: 4 << 30}, nvml.SUCCESS }
	card.GetEccModeFunc = func() (nvml.EnableState, nvml.EnableState, nvml.Return) { return 0, 0, nvml.ERROR_NOT_SUPPORTED }
	card.GetPowerUsageFunc = func() (uint32, nvml.Return) { return 99, nvml.ERROR_NOT_SUPPORTED }
	card.GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) {
		return nvml.Utilization{Gpu: 99}, nvml.ERROR_NOT_SUPPORTED
	}
	card.GetMigModeFunc = func() (int, int, nvml.Return) { return 0, 0, nvml.ERROR_NOT_SUPPORTED }
	card.GetSupportedEventTypesFunc = func() (uint64, nvml.Return) { return 0, nvml.SUCCESS }
	card.RegisterEventsFunc = nil

	readings, err := r.devices().Read(t.Context())
	want := &messages.DeviceReading{Device: "gpu0", Kind: "cuda", Name: card.Name, Uuid: card.UUID,
		CapacityBytes: 24 << 30, UsedBytes: 4 << 30, EccErrors: -1}
	if err != nil || len(readings) != 1 || !proto.Equal(readings[0], want) {
		t.Errorf("got  %v, %v\nwant %v", readings, err, want)
	}
}

func TestMemoryAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		v2, v1   nvml.Return
		capacity uint64
		lost     bool
	}{
		"version 2":                    {nvml.SUCCESS, nvml.ERROR_UNKNOWN, 79 << 30, false},
		"version 2 refused":            {nvml.ERROR_ARGUMENT_VERSION_MISMATCH, nvml.SUCCESS, 80 << 30, false},
		"memory shared with the CPU":   {nvml.ERROR_NOT_SUPPORTED, nvml.ERROR_NOT_SUPPORTED, 0, false},
		"no answer makes it unusable":  {nvml.ERROR_UNKNOWN, nvml.ERROR_UNKNOWN, 0, true},
		"lost, so version 1 not asked": {nvml.ERROR_GPU_IS_LOST, nvml.SUCCESS, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 1)
			r.card(0).GetMemoryInfo_v2Func = func() (nvml.Memory_v2, nvml.Return) {
				if tc.v2 != nvml.SUCCESS {
					return nvml.Memory_v2{}, tc.v2
				}
				return nvml.Memory_v2{Total: 80 << 30, Reserved: 1 << 30}, tc.v2
			}
			r.card(0).GetMemoryInfoFunc = func() (nvml.Memory, nvml.Return) {
				if tc.v1 != nvml.SUCCESS {
					return nvml.Memory{}, tc.v1
				}
				return nvml.Memory{Total: 80 << 30}, tc.v1
			}
			readings, err := r.devices().Read(t.Context())
			if err != nil || len(readings) != 1 {
				t.Fatal(readings, err)
			}
			if m := readings[0]; m.CapacityBytes != tc.capacity || m.Lost != tc.lost || m.Lost != (m.LostReason != "") {
				t.Errorf("got %v", m)
			}
		})
	}
}

func TestDGXAsTheLibraryMocksIt(t *testing.T) {
	s := dgxa100.New()
	r := newRig(t, 0)
	r.Devices = s.Devices[:]
	for _, d := range s.Devices {
		r.equip(d.(*dgxa100.Device))
	}
	if got := strings.Count(look(t, r.devices()), "79G"); got != 8 {
		t.Errorf("%d of 8 devices read", got)
	}
}

// The mock panics on every method but Init, because nothing may be called without a driver.
func TestNoDriver(t *testing.T) {
	lib := &mock.Interface{InitFunc: func() nvml.Return { return nvml.ERROR_LIBRARY_NOT_FOUND }}
	d := openWith(t.Context(), lib, Options{})
	readings, err := d.Read(t.Context())
	if len(readings) != 0 || err != nil {
		t.Errorf("got %v, %v", readings, err)
	}
	if d.Faults() != nil {
		t.Error("faults without a driver")
	}
	if got := d.Status(); got != "no NVIDIA driver on this machine" {
		t.Errorf("status %q", got)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if n := len(lib.InitCalls()); n != 1 {
		t.Errorf("%d Inits", n)
	}
}

func TestCloseAndContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		ctx, cancel := context.WithCancel(t.Context())
		d := openWith(ctx, r, Options{})

		done, stop := context.WithCancel(t.Context())
		stop()
		if _, err := d.Read(done); !errors.Is(err, context.Canceled) {
			t.Errorf("read with an ended context: %v", err)
		}
		cancel()
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if _, err := d.Read(t.Context()); messages.CodeOf(err) != messages.Unavailable {
			t.Errorf("read after close: %v", err)
		}
		if _, more := <-d.Faults(); more {
			t.Error("faults go on after close")
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if r.open {
			t.Error("the library was left open")
		}
	})
}

func TestADriverThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		release := make(chan struct{})
		r.card(0).GetPowerUsageFunc = func() (uint32, nvml.Return) { <-release; return 0, nvml.SUCCESS }
		d := openWith(t.Context(), r, Options{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := d.Read(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		before := time.Now()
		if err := d.Close(); messages.CodeOf(err) != messages.Unavailable {
			t.Errorf("close: %v", err)
		}
		if waited := time.Since(before); waited != closePatience {
			t.Errorf("close waited %v", waited)
		}
		close(release)
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
}
