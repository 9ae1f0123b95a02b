package sim

import (
	"context"
	"errors"
	"math"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"modelops/messages"
)

func two(t testing.TB, opts Options) *Devices {
	t.Helper()
	d, err := New([]Device{{ID: "sim1", CapacityBytes: 100}, {ID: "sim0", CapacityBytes: 50, Name: "Fake 3090"}}, opts)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func read(t testing.TB, d *Devices) []*messages.DeviceReading {
	t.Helper()
	readings, err := d.Read(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return readings
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestReadings(t *testing.T) {
	d := two(t, Options{})
	must(t, d.Use("sim1", 9, 30))
	must(t, d.Use("sim1", 4, 10))
	must(t, d.Use("sim1", 9, 20)) // in place of 30
	must(t, d.TakeForeign("sim1", 5))
	want := []*messages.DeviceReading{
		{Device: "sim1", Kind: "simulated", Name: "simulated device", Uuid: "SIM-sim1", CapacityBytes: 100, UsedBytes: 35, EccErrors: -1,
			Processes: []*messages.ProcessMemory{{Pid: 4, Bytes: 10}, {Pid: 9, Bytes: 20}}},
		{Device: "sim0", Kind: "simulated", Name: "Fake 3090 (simulated)", Uuid: "SIM-sim0", CapacityBytes: 50, EccErrors: -1},
	}
	for i, got := range read(t, d) {
		if !proto.Equal(got, want[i]) {
			t.Errorf("got  %v\nwant %v", got, want[i])
		}
	}
	if d.Status() != "2 simulated devices" {
		t.Errorf("status %q", d.Status())
	}
}

func TestNewRefuses(t *testing.T) {
	for name, devices := range map[string][]Device{
		"no id":       {{CapacityBytes: 1}},
		"two alike":   {{ID: "a", CapacityBytes: 1}, {ID: "a", CapacityBytes: 1}},
		"no capacity": {{ID: "a"}},
	} {
		if _, err := New(devices, Options{}); messages.CodeOf(err) != messages.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	d := two(t, Options{})
	must(t, d.Use("sim1", 1, 60))
	before := read(t, d)
	for name, tc := range map[string]struct {
		err  error
		want messages.Code
	}{
		"out of memory":      {d.Use("sim1", 2, 41), messages.GPUUnavailable},
		"no wrap around":     {d.Use("sim1", 2, math.MaxUint64), messages.GPUUnavailable},
		"foreign too large":  {d.TakeForeign("sim1", 41), messages.GPUUnavailable},
		"unknown device":     {d.Use("sim7", 1, 1), messages.NotFound},
		"unknown to lose":    {d.Lose("sim7", "x"), messages.NotFound},
		"nothing to free":    {d.Free("sim1", 77), 0},
		"unknown to recover": {d.Recover("sim7"), messages.NotFound},
	} {
		if messages.CodeOf(tc.err) != tc.want {
			t.Errorf("%s: %v", name, tc.err)
		}
	}
	for i, got := range read(t, d) {
		if !proto.Equal(got, before[i]) {
			t.Errorf("a refusal changed %v into %v", before[i], got)
		}
	}
}

func TestLoseAndRecover(t *testing.T) {
	d := two(t, Options{})
	must(t, d.Use("sim0", 1, 10))
	must(t, d.TakeForeign("sim0", 10))
	must(t, d.Lose("sim0", "fell off"))
	if m := read(t, d)[1]; !m.Lost || m.LostReason != "fell off" || m.UsedBytes != 0 || len(m.Processes) != 0 || m.CapacityBytes != 50 {
		t.Errorf("lost: %v", m)
	}
	if read(t, d)[0].Lost {
		t.Error("the other one is lost, too")
	}
	for _, err := range []error{d.Use("sim0", 1, 1), d.TakeForeign("sim0", 1)} {
		if messages.CodeOf(err) != messages.GPUUnavailable {
			t.Errorf("a lost device answered %v", err)
		}
	}
	must(t, d.Recover("sim0"))
	if m := read(t, d)[1]; m.Lost || m.LostReason != "" || m.UsedBytes != 0 {
		t.Errorf("recovered: %v", m)
	}
	must(t, d.Use("sim0", 1, 50))
}

func TestFaults(t *testing.T) {
	d := two(t, Options{})
	must(t, d.Fault("sim1", 79))
	if got := <-d.Faults(); got.Device != "sim1" || got.Code != 79 || got.Fault != "simulated Xid 79" {
		t.Errorf("got %v", got)
	}
	for range faultRoom {
		must(t, d.Fault("sim1", 13))
	}
	if err := d.Fault("sim1", 13); messages.CodeOf(err) != messages.Unavailable {
		t.Errorf("no reader: %v", err)
	}
	must(t, d.Close())
	must(t, d.Close())
	n := 0
	for range d.Faults() {
		n++
	}
	if n != faultRoom {
		t.Errorf("%d faults were left to read", n)
	}
	for _, err := range []error{d.Fault("sim1", 1), d.Use("sim1", 1, 1)} {
		if messages.CodeOf(err) != messages.Unavailable {
			t.Errorf("after close: %v", err)
		}
	}
	if _, err := d.Read(t.Context()); messages.CodeOf(err) != messages.Unavailable {
		t.Errorf("read after close: %v", err)
	}
}

func TestFootprintsOfLiveProcesses(t *testing.T) {
	var d *Devices
	d = two(t, Options{
		Pids: func() []int64 { return []int64{1, 2, 3} },
		Footprint: func(pid int64) map[string]uint64 {
			_ = d.Status() // the callee may use the devices
			if pid == 3 {
				return nil
			}
			return map[string]uint64{"sim1": uint64(pid) * 10, "sim0": 1} // split over both
		},
	})
	must(t, d.Use("sim1", 2, 7)) // declared wins over seen
	m := read(t, d)[0]
	want := []*messages.ProcessMemory{{Pid: 1, Bytes: 10}, {Pid: 2, Bytes: 7}}
	if m.UsedBytes != 17 || len(m.Processes) != 2 || !proto.Equal(m.Processes[0], want[0]) || !proto.Equal(m.Processes[1], want[1]) {
		t.Errorf("got %v", m)
	}
}

func TestReadObeysItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := two(t, Options{}).Read(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Never: more used than there is, a sum that differs from its parts, an amount that differs from the last declared.
func TestLedgerProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d, err := New([]Device{{ID: "d", CapacityBytes: 100}}, Options{})
		if err != nil {
			rt.Fatal(err)
		}
		held, foreign := map[int64]uint64{}, uint64(0)
		sum := func() uint64 {
			s := foreign
			for _, b := range held {
				s += b
			}
			return s
		}
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			pid, bytes := rapid.Int64Range(1, 4).Draw(rt, "pid"), rapid.Uint64Range(0, 120).Draw(rt, "bytes")
			switch rapid.IntRange(0, 3).Draw(rt, "what") {
			case 0, 1:
				fits := sum()-held[pid]+bytes <= 100
				if err := d.Use("d", pid, bytes); (err == nil) != fits {
					rt.Fatalf("use of %d with %d in use: %v", bytes, sum(), err)
				} else if fits {
					held[pid] = bytes
				}
			case 2:
				_ = d.Free("d", pid)
				delete(held, pid)
			case 3:
				if d.TakeForeign("d", bytes) == nil {
					foreign = bytes
				}
			}
			readings, err := d.Read(context.Background())
			if err != nil || readings[0].UsedBytes != sum() || readings[0].UsedBytes > 100 || len(readings[0].Processes) != len(held) {
				rt.Fatalf("got %v, %v; want %v and %d foreign", readings, err, held, foreign)
			}
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	d := two(t, Options{})
	var wg sync.WaitGroup
	for pid := range int64(8) {
		wg.Go(func() {
			for range 50 {
				_ = d.Use("sim1", pid, 10)
				_, _ = d.Read(t.Context())
				_ = d.Free("sim1", pid)
			}
		})
	}
	wg.Wait()
	if m := read(t, d)[0]; m.UsedBytes != 0 || len(m.Processes) != 0 {
		t.Errorf("left over: %v", m)
	}
}
