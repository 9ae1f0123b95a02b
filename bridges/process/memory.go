package process

import (
	"errors"
	"os"
	"strconv"
	"strings"
)

// ResidentBytes is the resident memory of a process and its descendants.
func ResidentBytes(pid int64) (uint64, error) { return sum(pid, resident) }

// PeakBytes is the sum of the largest resident sizes that a process and its descendants ever had.
func PeakBytes(pid int64) (uint64, error) { return sum(pid, highWater) }

// sum adds what each process of a tree holds. A descendant that ends meanwhile holds nothing.
func sum(pid int64, of func(int64) (uint64, error)) (uint64, error) {
	total, err := of(pid)
	if err != nil {
		return 0, err
	}
	all, _ := processes()
	for _, st := range descendants(pid, all) {
		more, _ := of(st.pid)
		total += more
	}
	return total, nil
}

func resident(pid int64) (uint64, error) {
	b, err := os.ReadFile(procPath(pid, "statm"))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0, errors.New("statm has no resident pages")
	}
	pages, err := strconv.ParseUint(f[1], 10, 64)
	return pages * uint64(os.Getpagesize()), err
}

func highWater(pid int64) (uint64, error) {
	b, err := os.ReadFile(procPath(pid, "status"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(text), " kB"), 10, 54)
			return kib << 10, err
		}
	}
	return 0, errors.New("status has no VmHWM")
}

// ReadBytes is how much a process has read so far, from caches too; 0 when we may not know.
func ReadBytes(pid int64) uint64 {
	b, _ := os.ReadFile(procPath(pid, "io"))
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "rchar: "); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(v), 10, 64)
			return n
		}
	}
	return 0
}
