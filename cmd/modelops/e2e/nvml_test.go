//go:build e2e

package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"modelops/messages"
)

// driver is a false NVIDIA driver in a file of its own, whose mood the test changes while the daemon runs.
type driver struct {
	t   *testing.T
	dir string
}

func newDriver(t *testing.T, mood string) driver {
	t.Helper()
	compiler, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("no C compiler")
	}
	d := driver{t, t.TempDir()}
	source := filepath.Join(root, "bridges", "nvml", "testdata", "fake.c")
	if out, err := exec.Command(compiler, "-shared", "-fPIC", "-w", "-o", filepath.Join(d.dir, "libnvidia-ml.so.1"), source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	d.is(mood)
	return d
}

func (d driver) is(mood string) {
	d.t.Helper()
	next := filepath.Join(d.dir, "next")
	if err := os.WriteFile(next, []byte(mood), 0o600); err != nil {
		d.t.Fatal(err)
	}
	if err := os.Rename(next, d.mood()); err != nil {
		d.t.Fatal(err)
	}
}

func (d driver) mood() string { return filepath.Join(d.dir, "mood") }

func (d driver) env() []string {
	return []string{"LD_LIBRARY_PATH=" + d.dir, "FAKE_NVML=" + d.mood()}
}

// onCards is a configuration whose devices are read often and whose models hold 4000 MiB.
func onCards() string {
	engine := fmt.Sprintf("%q", os.Args[0]+" "+fakeEngineWord+" --port ${PORT}")
	return "resources: {gpu_poll_interval: 100ms}\nmodels: {declare: {a: {cmd: " + engine + ", vram_mb: 4000}, pinned1: {cmd: " + engine + ", vram_mb: 4000, env: [CUDA_VISIBLE_DEVICES=1]}}}\n"
}

func (d *daemon) devices() string {
	var out []string
	for _, g := range d.status().Gpus {
		text := g.Device + " " + g.Kind
		if g.Lost {
			text += " lost"
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

func (d *daemon) hasDevices(want string) {
	d.t.Helper()
	d.until(waitLimit, "the devices are "+want, func() bool { return d.devices() == want })
}

// TestDriverOfARealHost: readings go on for the daemon's life, a driver that goes away is told once and at every place that shows devices, and
// all is as before when it is back.
func TestDriverOfARealHost(t *testing.T) {
	at := newDriver(t, "two")
	d := start(t, onCards(), at.env()...)
	d.hasDevices("cpu cpu, gpu0 cuda, gpu1 cuda")
	at.is("silent")
	d.until(waitLimit, "foreign use is seen", func() bool {
		for _, g := range d.status().Gpus {
			if g.Device == "gpu0" && g.ForeignBytes == 6*messages.GiB {
				return true
			}
		}
		return false
	})
	at.is("lost")
	d.hasDevices("cpu cpu, gpu0 cuda, gpu1 cuda lost")
	if got := string(d.get("/health").body); !strings.Contains(got, "fallen off the bus") || !strings.Contains(got, `"degraded"`) {
		t.Errorf("/health says %s", got)
	}
	if got := string(d.get("/metrics").body); !strings.Contains(got, `modelops_gpu_lost{gpu="gpu1",host="main_pc"} 1`) {
		t.Error("/metrics doesn't say that gpu1 is lost")
	}
	at.is("mismatch")
	d.hasDevices("cpu cpu, gpu0 cuda lost, gpu1 cuda lost")
	if got := string(d.get("/health").body); !strings.Contains(got, `"unhealthy"`) {
		t.Errorf("no GPU can be used, and /health says %s", got)
	}
	at.is("two")
	d.hasDevices("cpu cpu, gpu0 cuda, gpu1 cuda")
	if got := string(d.get("/health").body); got != `{"status":"ok"}` {
		t.Errorf("/health says %s", got)
	}
	if n := strings.Count(d.log.String(), "can't be read"); n > 0 {
		t.Errorf("%d lines say that the devices can't be read", n)
	}
}

// TestDevicesThatCantBeUsed end no start: they are shown with their reason, and are devices once they can be used.
func TestDevicesThatCantBeUsed(t *testing.T) {
	for _, mood := range []string{"mismatch", "denied", "zero", "empty"} {
		t.Run(mood, func(t *testing.T) {
			at := newDriver(t, mood)
			d := start(t, onCards(), at.env()...)
			if got := d.devices(); !strings.HasSuffix(got, " cuda lost") {
				t.Errorf("the devices are %s", got)
			}
			if got := string(d.get("/health").body); !strings.Contains(got, "can't be used: ") {
				t.Errorf("/health says %s", got)
			}
			at.is("two")
			d.hasDevices("cpu cpu, gpu0 cuda, gpu1 cuda")
		})
	}
}

// TestUnifiedMemory: a GPU that uses the RAM has the RAM budget, once.
func TestUnifiedMemory(t *testing.T) {
	at := newDriver(t, "shared")
	d := start(t, "resources: {cpu_budget_mb: 5000}\nmodels: {declare: {a: {cmd: \""+os.Args[0]+" "+fakeEngineWord+" --port ${PORT}\", vram_mb: 1000}, tiny: {runtime: embedded, path: TINY}}}\n", at.env()...)
	d.hasDevices("gpu0 unified")
	if g := d.status().Gpus[0]; g.CapacityBytes != 5000*messages.MiB {
		t.Errorf("it has %s", messages.FormatBytes(g.CapacityBytes))
	}
	for _, model := range []string{"a", "tiny"} {
		if a := d.post("/api/models/load/"+model, nil); a.status != 200 {
			t.Errorf("%s: %s", model, a)
		}
	}
	if got := d.environOf("a"); got["CUDA_VISIBLE_DEVICES"] != "GPU-00000000-0000-0000-0000-000000000000" {
		t.Errorf("its worker sees %q", got["CUDA_VISIBLE_DEVICES"])
	}
}

// TestOnlyNamedDevicesExist: the daemon's own CUDA_VISIBLE_DEVICES says which devices there are, also after a start that knew more.
func TestOnlyNamedDevicesExist(t *testing.T) {
	at := newDriver(t, "two")
	d := start(t, onCards(), at.env()...)
	d.hasDevices("cpu cpu, gpu0 cuda, gpu1 cuda")
	d.stop()
	d.env = append(d.env, "CUDA_VISIBLE_DEVICES=1")
	d.launch()
	d.hasDevices("cpu cpu, gpu1 cuda")
	if a := d.post("/api/models/load/a", nil); a.status != 200 {
		t.Fatal(a)
	}
	if got := d.environOf("a"); got["CUDA_VISIBLE_DEVICES"] != "GPU-00000001-0000-0000-0000-000000000000" {
		t.Errorf("its worker sees %q", got["CUDA_VISIBLE_DEVICES"])
	}
	d.stop()
	d.env = append(d.env, "CUDA_VISIBLE_DEVICES=")
	d.launch()
	d.hasDevices("cpu cpu")
}

// environOf is the environment of a model's worker.
func (d *daemon) environOf(model string) map[string]string {
	d.t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", d.model(model).GetWorker().GetPid()))
	if err != nil {
		d.t.Fatal(err)
	}
	out := map[string]string{}
	for pair := range strings.SplitSeq(string(raw), "\x00") {
		if name, value, ok := strings.Cut(pair, "="); ok {
			out[name] = value
		}
	}
	return out
}
