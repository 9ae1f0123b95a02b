//go:build linux && cgo

package nvml

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The moods of a driver, each with what the bridge reads then, and with what is read after the driver is well again. The driver is a library of
// our own, loaded by the real loader; a child runs all of it, because a library that was used is never unloaded.
var conformance = []struct{ mood, visible, want string }{
	{"two", "", "gpu0 cuda 24G; gpu1 cuda 24G"},
	{"shared", "", "gpu0 unified 0G"},
	{"lost", "", "gpu0 cuda 24G; gpu1 cuda 0G: the GPU has fallen off the bus or doesn't answer"},
	{"mig", "", "gpu0-mig0 cuda 10G; gpu0-mig2 cuda 20G; gpu1 cuda 24G"},
	{"empty", "", "gpu0 cuda 0G: it is in MIG mode and has no instance that could be used"},
	{"silent", "", "gpu0 cuda 24G 6G used [1:0]; gpu1 cuda 24G"},
	{"mismatch", "", "gpu0 cuda 0G: the NVIDIA driver was updated and this process still has the old library; restart modelops"},
	{"denied", "", "gpu0 cuda 0G: permission denied"},
	{"zero", "", "gpu0 cuda 24G; gpu1 cuda 0G: it reports no memory"},
	{"two", "1", "gpu1 cuda 24G"},
	{"two", "GPU-00000001,0", "gpu0 cuda 24G; gpu1 cuda 24G"},
	{"two", "none", ""},
	{"two", "-1,0", ""},
	{"mismatch", "-1", ""},
	{"lost", "0", "gpu0 cuda 24G"},
	{"mig", "MIG-00000002-0000-0000-0000-000000000000", "gpu0-mig2 cuda 20G"},
}

func TestConformance(t *testing.T) {
	if os.Getenv("MODELOPS_CONFORMANCE") != "" {
		conform(t, os.Getenv("MODELOPS_CONFORMANCE"))
		return
	}
	compiler, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("no C compiler")
	}
	dir := t.TempDir()
	library := filepath.Join(dir, "libfake.so")
	if out, err := exec.Command(compiler, "-shared", "-fPIC", "-w", "-o", library, "testdata/fake.c").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	again(t, t.Name(), "MODELOPS_CONFORMANCE="+library, "FAKE_NVML="+filepath.Join(dir, "mood"))
}

func conform(t *testing.T, library string) {
	mood := func(now string) {
		if err := os.WriteFile(os.Getenv("FAKE_NVML"), []byte(now), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range conformance {
		mood(c.mood)
		opts := Options{LibraryPath: library, Root: os.DirFS(t.TempDir())}
		if c.visible != "" {
			opts.Visible = &c.visible
		}
		d := Open(t.Context(), opts)
		if got := words(t, d); got != c.want {
			t.Errorf("%s, visible %q: got %q, want %q", c.mood, c.visible, got, c.want)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	mood("jump")
	d := Open(t.Context(), Options{LibraryPath: library})
	for range 12 {
		readings, err := d.Read(t.Context())
		if err != nil || len(readings) != 2 {
			t.Fatal(readings, err)
		}
		for _, r := range readings {
			if r.UsedBytes > r.CapacityBytes || r.Lost {
				t.Errorf("a use of %d of %d bytes, lost %v", r.UsedBytes, r.CapacityBytes, r.Lost)
			}
		}
	}
	mood("mismatch") // and back: the devices are those of before
	if got := words(t, d); strings.Count(got, "was updated") != 2 {
		t.Errorf("the driver is replaced: %q", got)
	}
	mood("two")
	for began := time.Now(); words(t, d) != "gpu0 cuda 24G; gpu1 cuda 24G"; {
		if time.Since(began) > time.Minute {
			t.Fatalf("the driver is back, and the readings say %q", words(t, d))
		}
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// words are the readings, as the table writes them.
func words(t *testing.T, d *Devices) string {
	t.Helper()
	readings, err := d.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range readings {
		text := fmt.Sprintf("%s %s %dG", r.Device, r.Kind, r.CapacityBytes>>30)
		if r.UsedBytes > 0 {
			text += fmt.Sprintf(" %dG used", r.UsedBytes>>30)
		}
		for _, p := range r.Processes {
			text += fmt.Sprintf(" [%d:%d]", p.Pid, p.Bytes)
		}
		if r.Lost {
			text = strings.Replace(text, "24G", "0G", 1)
			text += ": " + r.LostReason
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}
