package drm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"modelops/messages"
)

// machine is a file system of a machine with cards.
type machine struct {
	t   *testing.T
	dir string
}

func (m machine) write(name, text string) {
	m.t.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m machine) card(n int, vendor, slot string, files ...string) {
	dir := fmt.Sprintf("sys/class/drm/card%d/device/", n)
	m.write(dir+"vendor", vendor)
	m.write(dir+"uevent", "DRIVER=x\nPCI_SLOT_NAME="+slot)
	for i := 0; i < len(files); i += 2 {
		m.write(dir+files[i], files[i+1])
	}
}

// mixed is a machine with cards of all vendors, not in the order of the bus, and with displays that are no devices.
func mixed(t *testing.T) machine {
	m := machine{t, t.TempDir()}
	m.card(0, "0x1af4", "0000:00:01.0") // virtio
	m.card(1, "0x1002", "0000:43:00.0", "mem_info_vram_total", "17179869184", "mem_info_vram_used", "1073741824", "gpu_busy_percent", "37", "product_name", "Radeon 16G")
	m.card(2, "0x1002", "0000:03:00.0", "mem_info_vram_total", "25753026560", "mem_info_vram_used", "0", "unique_id", "a1b2c3d4e5f60718", "hwmon/hwmon3/temp1_input", "51000", "hwmon/hwmon3/power1_average", "88000000")
	m.card(3, "0x8086", "0000:00:02.0") // integrated
	m.card(4, "0x8086", "0000:83:00.0", "tile0/physical_vram_size_bytes", "12884901888")
	m.card(5, "0x10de", "0000:c3:00.0") // NVML's
	m.write("sys/class/drm/card1-DP-1/status", "connected")
	return m
}

func words(t *testing.T, d *Devices) string {
	t.Helper()
	readings, err := d.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range readings {
		text := fmt.Sprintf("%s %s %d/%dM", r.Device, r.Kind, r.UsedBytes/messages.MiB, r.CapacityBytes/messages.MiB)
		for _, p := range r.Processes {
			text += fmt.Sprintf(" %d:%dM", p.Pid, p.Bytes/messages.MiB)
		}
		if r.Lost {
			text += " lost: " + r.LostReason
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

func TestCards(t *testing.T) {
	m := mixed(t)
	d := Open(Options{Root: os.DirFS(m.dir)})
	if got, want := words(t, d), "amd0 rocm 0/24560M; amd1 rocm 1024/16384M; intel0 oneapi 0/12288M"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	readings, err := d.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if a, b := readings[0], readings[1]; a.Uuid != "GPU-a1b2c3d4e5f60718" || a.TemperatureC != 51 || a.PowerWatts != 88 || b.UtilizationPct != 37 || b.Name != "Radeon 16G" {
		t.Errorf("%v", readings)
	}
	m.card(1, "0x1002", "0000:43:00.0", "mem_info_vram_total", "0")
	m.card(2, "0x1002", "0000:03:00.0", "mem_info_vram_total", "no number")
	if got := words(t, d); !strings.Contains(got, "amd1 rocm 0/0M lost: it reports no memory") || !strings.Contains(got, "amd0 rocm 0/0M lost: its memory can't be read") {
		t.Error(got)
	}
	if got := words(t, Open(Options{Root: os.DirFS(t.TempDir())})); got != "" {
		t.Errorf("no card: %s", got)
	}
}

// What processes hold is told for each client once, and by the compute driver where that knows more.
func TestProcesses(t *testing.T) {
	m := mixed(t)
	for fd, info := range map[string]string{
		"3": "drm-pdev: 0000:43:00.0\ndrm-client-id: 7\ndrm-memory-vram: 2048 KiB\ndrm-memory-gtt: 9999 KiB",
		"4": "drm-pdev: 0000:43:00.0\ndrm-client-id: 7\ndrm-memory-vram: 2048 KiB",
		"5": "drm-pdev: 0000:83:00.0\ndrm-client-id: 8\ndrm-resident-vram0: 300 MiB\ndrm-resident-system: 50 MiB",
	} {
		m.write("proc/42/fdinfo/"+fd, info)
		if err := os.MkdirAll(filepath.Join(m.dir, "proc/42/fd"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/dev/dri/renderD128", filepath.Join(m.dir, "proc/42/fd", fd)); err != nil {
			t.Fatal(err)
		}
	}
	m.write("sys/class/kfd/kfd/topology/nodes/1/properties", "simd_count 1\nlocation_id 768")
	m.write("sys/class/kfd/kfd/topology/nodes/1/gpu_id", "5555")
	m.write("sys/class/kfd/kfd/proc/43/vram_5555", "1073741824")
	want := "amd0 rocm 0/24560M 43:1024M; amd1 rocm 1024/16384M 42:2M; intel0 oneapi 300/12288M 42:300M"
	if got := words(t, Open(Options{Root: os.DirFS(m.dir)})); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestVisibleCards(t *testing.T) {
	m := mixed(t)
	for _, c := range []struct{ env, exist, worker string }{
		{"", "amd0 amd1 intel0", "HIP_VISIBLE_DEVICES=0,1 ONEAPI_DEVICE_SELECTOR=level_zero:0"},
		{"HIP_VISIBLE_DEVICES=1", "amd1 intel0", "HIP_VISIBLE_DEVICES=1 ONEAPI_DEVICE_SELECTOR=level_zero:0"},
		{"HIP_VISIBLE_DEVICES=", "intel0", "ONEAPI_DEVICE_SELECTOR=level_zero:0"},
		{"HIP_VISIBLE_DEVICES=0,-1,1", "amd0 intel0", "HIP_VISIBLE_DEVICES=0 ONEAPI_DEVICE_SELECTOR=level_zero:0"},
		{"ROCR_VISIBLE_DEVICES=1", "amd1 intel0", "HIP_VISIBLE_DEVICES=0 ONEAPI_DEVICE_SELECTOR=level_zero:0"},
		{"ROCR_VISIBLE_DEVICES=1,GPU-A1B2C3D4E5F60718", "amd0 amd1 intel0", "HIP_VISIBLE_DEVICES=1,0 ONEAPI_DEVICE_SELECTOR=level_zero:0"},
		{"ROCR_VISIBLE_DEVICES=1,0 HIP_VISIBLE_DEVICES=0", "amd1 intel0", "HIP_VISIBLE_DEVICES=0 ONEAPI_DEVICE_SELECTOR=level_zero:0"},
		{"ZE_AFFINITY_MASK=1", "amd0 amd1", "HIP_VISIBLE_DEVICES=0,1"},
		{"ONEAPI_DEVICE_SELECTOR=level_zero:1", "amd0 amd1", "HIP_VISIBLE_DEVICES=0,1"},
		{"ONEAPI_DEVICE_SELECTOR=*:*", "amd0 amd1 intel0", "HIP_VISIBLE_DEVICES=0,1 ONEAPI_DEVICE_SELECTOR=level_zero:0"},
	} {
		env := map[string]string{}
		for _, pair := range strings.Fields(c.env) {
			name, value, _ := strings.Cut(pair, "=")
			env[name] = value
		}
		d := Open(Options{Root: os.DirFS(m.dir), Env: env})
		var exist []string
		for _, x := range d.cards() {
			exist = append(exist, x.device())
		}
		if got := strings.Join(exist, " "); got != c.exist {
			t.Errorf("%s: there are %s, want %s", c.env, got, c.exist)
		}
		if got := strings.Join(d.Env(exist), " "); got != c.worker {
			t.Errorf("%s: workers see %s, want %s", c.env, got, c.worker)
		}
	}
}
