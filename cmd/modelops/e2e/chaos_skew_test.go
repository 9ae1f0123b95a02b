//go:build e2e

package e2e_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"
)

// skewVariable names, in the environment of a program that was built with skewed, the file whose eight bytes set its wall clock off.
const skewVariable = "CHAOS_CLOCK"

// skewSource is added to the package time of the program under test. It sets the wall clock off and leaves the monotonic one alone, as
// clock_settime does, but for this program only. The file is mapped, so that a jump holds for all goroutines from one reading to the next.
const skewSource = `package time

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

var skew *int64

func init() {
	path, ok := syscall.Getenv("` + skewVariable + `")
	if !ok {
		return
	}
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		panic("` + skewVariable + `: " + err.Error())
	}
	m, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic("` + skewVariable + `: " + err.Error())
	}
	_ = syscall.Close(fd)
	skew = (*int64)(unsafe.Pointer(&m[0]))
}

func skewed(sec int64, nsec int32) (int64, int32) {
	if skew == nil {
		return sec, nsec
	}
	n := int64(nsec) + atomic.LoadInt64(skew)
	sec, n = sec+n/1e9, n%1e9
	if n < 0 {
		sec, n = sec-1, n+1e9
	}
	return sec, int32(n)
}
`

// skewable builds the binary with a wall clock that can be set off. The first build compiles everything, which takes minutes.
func skewable(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	said, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	original := filepath.Join(strings.TrimSpace(string(said)), "src", "time", "time.go")
	source, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	const reading = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if bytes.Count(source, []byte(reading)) != 1 {
		t.Fatalf("time.Now in %s is another one than this test knows: look where it reads the clock, and set that off", original)
	}
	overlay := map[string]string{}
	replace := func(name, content string) {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay[filepath.Join(filepath.Dir(original), name)] = path
	}
	replace("time.go", strings.Replace(string(source), reading, reading+"\tsec, nsec = skewed(sec, nsec)\n", 1))
	replace("skew.go", skewSource)
	raw, err := json.Marshal(object{"Replace": overlay})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := build(dir, "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -trimpath -overlay="+list))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// wallClock sets a daemon's wall clock off.
type wallClock struct {
	t    *testing.T
	path string
	off  time.Duration
}

func newWallClock(t *testing.T) *wallClock {
	t.Helper()
	w := &wallClock{t: t, path: filepath.Join(t.TempDir(), "clock")}
	if err := os.WriteFile(w.path, make([]byte, 8), 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *wallClock) env() string { return skewVariable + "=" + w.path }

// jump sets the clock by d from where it stands.
func (w *wallClock) jump(d time.Duration) {
	w.t.Helper()
	w.off += d
	f, err := os.OpenFile(w.path, os.O_WRONLY, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	raw := (*[8]byte)(unsafe.Pointer(&w.off))[:]
	if _, err := f.WriteAt(raw, 0); err != nil {
		w.t.Fatal(err)
	}
}
