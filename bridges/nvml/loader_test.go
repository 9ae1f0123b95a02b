//go:build linux && cgo

package nvml

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

const unnamed = "the NVIDIA driver has no text for this error"

// The real loader against a library of our own, which lacks what later drivers brought. It runs in a child, because a
// library that was used is never unloaded. LD_BIND_NOW makes the dynamic linker look for every symbol at the start of a
// process, as it does for programs linked with -z now.
func TestRealLoaderWithAnOldDriver(t *testing.T) {
	if library := os.Getenv("MODELOPS_FAKE_NVML"); library != "" {
		readFake(t, library)
		return
	}
	compiler, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("no C compiler")
	}
	library := filepath.Join(t.TempDir(), "libfake.so")
	if out, err := exec.Command(compiler, "-shared", "-fPIC", "-o", library, "testdata/driver.c").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := "gpu0 Fake GTX GPU-fake 1024/8192 MiB, pid 42: 5 MiB, ecc -1, NVML 9.390.1, driver 390.1, 1 device\n" + unnamed
	for _, binding := range []string{"LD_BIND_NOW=", "LD_BIND_NOW=1"} {
		if out := again(t, t.Name(), "MODELOPS_FAKE_NVML="+library, binding); !strings.Contains(out, want) {
			t.Errorf("%s: got\n%swant %s", binding, out, want)
		}
	}
}

// again runs one test of this binary in a process of its own.
func again(t *testing.T, test string, env ...string) string {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+test+"$", "-test.v")
	child.Env = append(os.Environ(), env...)
	out, err := child.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", env, err, out)
	}
	return string(out)
}

func readFake(t *testing.T, library string) {
	d := Open(t.Context(), Options{LibraryPath: library})
	readings, err := d.Read(t.Context())
	if err != nil || len(readings) != 1 || len(readings[0].Processes) != 1 {
		t.Fatal(readings, err)
	}
	m, p := readings[0], readings[0].Processes[0]
	fmt.Printf("%s %s %s %d/%d MiB, pid %d: %d MiB, ecc %d, %s\n", m.Device, m.Name, m.Uuid,
		m.UsedBytes>>20, m.CapacityBytes>>20, p.Pid, p.Bytes>>20, m.EccErrors, d.Status())
	fmt.Println(nvml.ERROR_UNKNOWN.Error()) // the library lacks nvmlErrorString
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// This machine may have a driver or not: neither may end the process.
func TestOpenWhateverIsHere(t *testing.T) {
	d := Open(t.Context(), Options{})
	readings, err := d.Read(t.Context())
	t.Log(d.Status(), len(readings), err)
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	absent := Open(t.Context(), Options{LibraryPath: filepath.Join(t.TempDir(), "libnone.so")})
	if got := absent.Status(); got != "no NVIDIA driver on this machine" {
		t.Errorf("status %q", got)
	}
	if err := absent.Close(); err != nil {
		t.Error(err)
	}
}
