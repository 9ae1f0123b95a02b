package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

func TestTables(t *testing.T) {
	now := time.UnixMilli(1_700_000_100_000)
	var out bytes.Buffer
	c := &cli{stdout: &out}
	models := []*messages.ModelView{
		{Name: "tiny", Phase: messages.ModelView_ready, MeasuredBytes: 41 << 20, Active: 2, Queued: 1, ReadyMs: now.Add(-90 * time.Second).UnixMilli(),
			Placement: &messages.Placement{Shares: []*messages.Share{{Gpu: "gpu/main_pc/cpu"}}}, Worker: &messages.Worker{Pid: 42}},
		{Name: "org/big", Phase: messages.ModelView_loading, Placement: &messages.Placement{Shares: []*messages.Share{{Gpu: "gpu/main_pc/gpu0", Bytes: 20 << 30}}, Source: "unknown"}},
		{Name: "cloud", Phase: messages.ModelView_ready, Worker: &messages.Worker{Remote: true}},
	}
	if err := c.printResident(models, nil, now); err != nil {
		t.Fatal(err)
	}
	want := `
NAME     PHASE    DEVICE  MEMORY            ACTIVE  QUEUED  SINCE  PINNED  PID
tiny     ready    cpu     41 MiB measured   2       1       1m30s  -       42
org/big  loading  gpu0    20.0 GiB unknown  0       0       -      -       -
cloud    ready    -       -                 0       0       -      -       -
`
	if got := "\n" + out.String(); got != want {
		t.Errorf("%s", got)
	}
}

func TestDevicesSaySimulated(t *testing.T) {
	var out bytes.Buffer
	c := &cli{stdout: &out}
	g := &messages.GpuView{Device: "gpu0", Kind: "simulated", Name: "24 GiB card", CapacityBytes: 24 << 30, LimitBytes: 22 << 30, Lost: true, LostReason: "pulled out",
		Reservations: []*messages.Reservation{{Lease: "l1", Holder: "client/me", Bytes: 1 << 30, TtlSeconds: 30, Epoch: 7}},
		Reading:      &messages.DeviceReading{UsedBytes: 3 << 30, UtilizationPct: 40, TemperatureC: 61, PowerWatts: 120.4}}
	if err := c.printDevices(&messages.StatusView{Gpus: []*messages.GpuView{g}}, true, time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"24 GiB card (simulated)", "lost", "gpu0 can't be used: pulled out", "3072 MiB", "40%", "61C", "120W", "client/me", "30s"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// Without its colour codes, a coloured table equals the plain one.
func TestColouredTablesAlign(t *testing.T) {
	tab := table{columns: []string{"NAME", "PHASE", "X"}}
	tab.add("a", "ready", "1")
	tab.add("bb", "failed", "")
	var bare, painted bytes.Buffer
	_ = tab.print(&bare)
	tab.colour = func(column int, cell string) string {
		if column != 1 {
			return ""
		}
		return phaseColour(cell)
	}
	_ = tab.print(&painted)
	if !strings.Contains(painted.String(), green+"ready") || !strings.Contains(painted.String(), red+"failed") {
		t.Errorf("%q", painted.String())
	}
	clean := strings.NewReplacer(plain, "", green, "", yellow, "", red, "", reset, "").Replace(painted.String())
	if clean != bare.String() {
		t.Errorf("%q\n%q", clean, bare.String())
	}
}

func TestLasting(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0ms", 0: "0ms", 999 * time.Millisecond: "999ms", 1500 * time.Millisecond: "1.5s", 59 * time.Second: "59s", 61 * time.Second: "1m1s",
		3*time.Hour + 5*time.Minute: "3h5m", 50 * time.Hour: "2d2h",
	} {
		if got := lasting(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}

func TestSmallAmounts(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	for name, got := range map[string][2]string{
		"no memory":           {mib(0), ""},
		"no memory, as a sum": {amount(0), "0"},
		"memory":              {amount(5 << 30), "5120 MiB"},
		"never":               {ago(now, 0), ""},
		"ago":                 {ago(now, now.Add(-90*time.Second).UnixMilli()), "1m30s"},
		"no bound":            {outOf("running", 3, 0), "3 running"},
		"a bound":             {outOf("waiting", 3, 9), "3 waiting of 9"},
		"no models":           {phases(nil, nil), "none"},
		"models by phase":     {phases([]*messages.ModelView{{Phase: messages.ModelView_absent}, {Phase: messages.ModelView_ready}, {Phase: messages.ModelView_absent}}, nil), "1 ready, 2 absent"},
		"models of a lost host": {phases([]*messages.ModelView{{Phase: messages.ModelView_ready}, {Host: "pc2", Phase: messages.ModelView_ready}, {Host: "pc3", Phase: messages.ModelView_ready}},
			[]*messages.HostSaid{{Host: "pc2", Stale: true}, {Host: "pc3"}}), "2 ready, 1 unreachable"},
		"tokens of no time":     {sum(&messages.InferenceResponse{TokensGenerated: 3}), "3 tokens in 0ms"},
		"tokens and their rate": {sum(&messages.InferenceResponse{TokensGenerated: 30, InferenceTimeMs: 500}), "30 tokens in 500ms, 60/s"},
		"a file":                {cameFrom(&messages.ModelSpec{Path: "/m.gguf"}), "/m.gguf"},
		"a command":             {cameFrom(&messages.ModelSpec{Cmd: "\n  serve \\\n  --port", Path: "/m.gguf"}), "serve \\"},
		"a URL":                 {cameFrom(&messages.ModelSpec{Url: "https://h"}), "https://h"},
		"an actor":              {nameOf("model/pc/org/m:7b"), "org/m:7b"},
		"an actor without name": {nameOf("arbiter"), "arbiter"},
		"not an actor":          {nameOf("x y"), "x y"},
		"a password":            {withoutPassword("nats://me:secret@h:1"), "nats://me:xxxxx@h:1"},
		"not an address":        {withoutPassword("nats://me:secret@h:x%"), "the NATS server"},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %q, want %q", name, got[0], got[1])
		}
	}
}
