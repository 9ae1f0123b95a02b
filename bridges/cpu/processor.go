package cpu

import (
	"io/fs"
	"strconv"
	"strings"
)

// modelName is the processor's name; machines of other kinds than x86 often tell none.
func modelName(root fs.FS) string {
	text, err := fs.ReadFile(root, "proc/cpuinfo")
	if err != nil {
		return "CPU"
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		if value = strings.TrimSpace(value); strings.TrimSpace(key) == "model name" && value != "" {
			return value
		}
	}
	return "CPU"
}

// ticks are the kernel's counts of processor time since boot, over all cores.
type ticks struct{ busy, all uint64 }

// readTicks is zero when /proc/stat can't be read or understood: then no load is shown.
func readTicks(root fs.FS) ticks {
	text, err := fs.ReadFile(root, "proc/stat")
	if err != nil {
		return ticks{}
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return parseTicks(line)
}

// parseTicks reads "cpu user nice system idle iowait irq softirq steal guest guest_nice". The guest columns are left out:
// user and nice hold them already.
func parseTicks(line string) ticks {
	words := strings.Fields(line)
	if len(words) < 5 || words[0] != "cpu" {
		return ticks{}
	}
	var t ticks
	for i, word := range words[1:min(len(words), 9)] {
		n, err := strconv.ParseUint(word, 10, 48)
		if err != nil {
			return ticks{}
		}
		t.all += n
		if idle := i == 3 || i == 4; !idle {
			t.busy += n
		}
	}
	return t
}

// busyPercent since before. The counts of idle time may go back a little, so neither sum is trusted to grow.
func (t ticks) busyPercent(before ticks) uint32 {
	if before.all == 0 || t.all <= before.all {
		return 0
	}
	return uint32(min(100, 100*less(t.busy, before.busy)/(t.all-before.all)))
}
