package cpu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

const mib = 1 << 20

// machine is a false /proc and /sys.
type machine fstest.MapFS

func newMachine(totalMiB, availableMiB int) machine {
	m := machine{}
	m.put("proc/meminfo", fmt.Sprintf("MemTotal:  %d kB\nMemFree: 1 kB\nMemAvailable: %d kB\nHugePages_Total: 0\n", totalMiB<<10, availableMiB<<10))
	m.put("proc/cpuinfo", "processor\t: 0\nmodel name\t: Fake CPU @ 3 GHz\n\nprocessor\t: 1\nmodel name\t: Fake CPU @ 3 GHz\n")
	return m
}

func (m machine) put(name, text string) { m[name] = &fstest.MapFile{Data: []byte(text)} }

func (m machine) fs() fs.FS { return fstest.MapFS(m) }

// process puts one with anonymous memory, mapped files and a peak, all in MiB.
func (m machine) process(pid, parent, group, anon, file, peak int) {
	m.put(fmt.Sprintf("proc/%d/stat", pid), fmt.Sprintf("%d (a) (name) S %d %d 1 0", pid, parent, group))
	m.put(fmt.Sprintf("proc/%d/status", pid), fmt.Sprintf("Name:\ta\nVmHWM:\t%d kB\nVmRSS:\t%d kB\nRssAnon:\t%d kB\nRssFile:\t%d kB\nRssShmem:\t0 kB\n",
		peak<<10, (anon+file)<<10, anon<<10, file<<10))
}

func one(t *testing.T, d *Device) *messages.DeviceReading {
	t.Helper()
	readings, err := d.Read(t.Context())
	if err != nil || len(readings) != 1 {
		t.Fatal(readings, err)
	}
	return readings[0]
}

func pids(list ...int64) func() []int64 { return func() []int64 { return list } }

// Each row is a machine of 1000 MiB; all figures are MiB.
func TestUsedInTheFrameOfTheBudget(t *testing.T) {
	for name, tc := range map[string]struct {
		budget, available, anon, file int
		capacity, used                int
	}{
		"idle":                                    {0, 1000, 0, 0, 500, 0},
		"others keep to their half":               {0, 600, 0, 0, 500, 0},
		"others grew into the budget":             {0, 300, 0, 0, 500, 200},
		"ours only":                               {0, 900, 100, 0, 500, 100},
		"ours isn't taken for others'":            {0, 400, 300, 0, 500, 300},
		"ours and others that grew":               {0, 100, 300, 0, 500, 400},
		"mapped files are available, yet ours":    {0, 900, 100, 200, 500, 300},
		"mapped files don't hide others":          {0, 100, 300, 200, 500, 600},
		"a budget of all":                         {1000, 700, 0, 0, 1000, 300},
		"a budget larger than the machine":        {4000, 1000, 0, 0, 1000, 0},
		"a small budget":                          {100, 300, 0, 0, 100, 0},
		"more ours than in use, a torn reading":   {0, 900, 300, 0, 500, 300},
		"more available than there is, also torn": {0, 1100, 0, 0, 500, 0},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(1000, tc.available)
			m.process(7, 1, 7, tc.anon, tc.file, 0)
			d := open(Options{BudgetBytes: uint64(tc.budget) * mib, Pids: pids(7)}, m.fs())
			got := one(t, d)
			want := &messages.DeviceReading{Device: "cpu", Kind: "cpu", Name: "Fake CPU @ 3 GHz", EccErrors: -1,
				CapacityBytes: uint64(tc.capacity) * mib, UsedBytes: uint64(tc.used) * mib,
				Processes: []*messages.ProcessMemory{{Pid: 7, Bytes: uint64(tc.anon+tc.file) * mib}}}
			if !proto.Equal(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
		})
	}
}

func TestTrees(t *testing.T) {
	m := newMachine(1000, 500)
	m.process(1, 0, 1, 1, 0, 0)
	m.process(10, 1, 10, 10, 0, 12)   // a worker
	m.process(11, 10, 10, 20, 0, 25)  // its child
	m.process(12, 11, 12, 30, 0, 30)  // a grandchild with a group of its own
	m.process(13, 1, 10, 40, 0, 40)   // an orphan in the worker's group
	m.process(20, 1, 20, 5, 0, 5)     // another worker
	m.process(31, 1, 30, 7, 0, 7)     // of a worker 30 that has died
	m.process(100, 1, 100, 99, 0, 99) // foreign
	m.put("proc/40/stat", "40 (zombie) Z 1 40 1 0")
	m.put("proc/40/status", "Name:\tzombie\nState:\tZ\n")
	m.put("proc/50/stat", "nonsense")
	d := open(Options{Pids: pids(20, 10, 30, 40, 50, 60)}, m.fs())
	got := ""
	for _, p := range one(t, d).Processes {
		got += fmt.Sprintf("%d:%d ", p.Pid, p.Bytes/mib)
	}
	if want := "20:5 10:100 30:7 "; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	current, peak, err := d.Footprint(10)
	if err != nil || current != 100*mib || peak != 107*mib {
		t.Errorf("footprint %d %d %v", current/mib, peak/mib, err)
	}
	for _, pid := range []int64{40, 60} {
		if _, _, err := d.Footprint(pid); messages.CodeOf(err) != messages.NotFound {
			t.Errorf("pid %d: %v", pid, err)
		}
	}
}

// Two processes that share 100 MiB hold 50 each by the kernel's Pss.
func TestSharedPagesAreSplit(t *testing.T) {
	m := newMachine(1000, 900)
	m.process(10, 1, 10, 100, 0, 100)
	m.put("proc/10/smaps_rollup", "0-1 ---p 0 00:00 0 [rollup]\nRss: 102400 kB\nPss: 51200 kB\nPss_Anon: 30720 kB\nPss_File: 10240 kB\nPss_Shmem: 10240 kB\n")
	d := open(Options{Pids: pids(10)}, m.fs())
	if got := one(t, d); got.Processes[0].Bytes != 50*mib || got.UsedBytes != 50*mib {
		t.Errorf("got %v", got)
	}
	if _, peak, _ := d.Footprint(10); peak != 100*mib {
		t.Errorf("peak %d", peak/mib)
	}
}

func TestUtilizationBetweenReadings(t *testing.T) {
	m := newMachine(1000, 900)
	d := open(Options{}, m.fs())
	for _, tc := range []struct {
		stat string
		want uint32
	}{
		{"cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1", 0}, // the first has nothing to compare with
		{"cpu  125 0 125 740 110 0 0 0 99 0\n", 50},
		{"cpu  125 0 125 740 110 0 0 0 99 0\n", 0}, // no time passed
		{"cpu  225 0 125 730 110 0 0 0 99 0\n", 100},
		{"nonsense", 0},
		{"cpu  225 0 125 830 110 0 0 0 99 0\n", 0},
	} {
		m.put("proc/stat", tc.stat)
		if got := one(t, d).UtilizationPct; got != tc.want {
			t.Errorf("%q: %d %%, want %d", tc.stat, got, tc.want)
		}
	}
}

func TestUnreadable(t *testing.T) {
	d := open(Options{Pids: pids(1)}, fstest.MapFS{})
	if _, err := d.Read(t.Context()); messages.CodeOf(err) != messages.Unavailable || !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if !strings.Contains(d.Status(), "can't be read") {
		t.Error(d.Status())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Read(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestStatus(t *testing.T) {
	m := newMachine(2048, 1024)
	if got, want := open(Options{}, m.fs()).Status(), "Fake CPU @ 3 GHz, 1.0 GiB of 2.0 GiB RAM for models"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	delete(m, "proc/cpuinfo")
	d := open(Options{}, m.fs())
	if got, want := d.Status(), "CPU, 1.0 GiB of 2.0 GiB RAM for models"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if d.Faults() != nil || d.Close() != nil {
		t.Error("faults or an error of close")
	}
}
