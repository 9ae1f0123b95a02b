package drm

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// held is what each process holds of each card, in bytes, by the card's place on the bus. Processes of other users can't be looked into without
// permission; they are foreign use without a name.
func (d *Devices) held(cards []card) map[string]map[int64]uint64 {
	out := map[string]map[int64]uint64{}
	for _, c := range cards {
		out[c.slot] = map[int64]uint64{}
	}
	entries, err := fs.ReadDir(d.root, "proc")
	if err != nil {
		return out
	}
	for _, e := range entries {
		if pid, err := strconv.ParseInt(e.Name(), 10, 64); err == nil {
			for slot, bytes := range d.clients(path.Join("proc", e.Name())) {
				if of := out[slot]; of != nil && bytes > 0 {
					of[pid] = bytes
				}
			}
		}
	}
	for _, c := range cards {
		for pid, bytes := range d.compute(c) {
			out[c.slot][pid] = max(out[c.slot][pid], bytes)
		}
	}
	return out
}

// clients are the bytes that a process holds of cards, by its open files of them.
func (d *Devices) clients(process string) map[string]uint64 {
	files, err := fs.ReadDir(d.root, path.Join(process, "fd"))
	if err != nil {
		return nil
	}
	sums, counted := map[string]uint64{}, map[string]bool{}
	for _, f := range files {
		target, err := fs.ReadLink(d.root, path.Join(process, "fd", f.Name()))
		if err != nil || !strings.HasPrefix(target, "/dev/dri/") {
			continue
		}
		info, err := fs.ReadFile(d.root, path.Join(process, "fdinfo", f.Name()))
		if err != nil {
			continue
		}
		slot, client, bytes := parseInfo(string(info))
		if key := slot + "/" + client; !counted[key] { // files that were passed on share a client
			counted[key] = true
			sums[slot] += bytes
		}
	}
	return sums
}

// parseInfo reads the lines drm-pdev, drm-client-id, and of the card's memory drm-resident-REGION, or drm-memory-REGION of older kernels.
func parseInfo(text string) (slot, client string, bytes uint64) {
	resident, older := uint64(0), uint64(0)
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch key {
		case "drm-pdev":
			slot = value
		case "drm-client-id":
			client = value
		}
		if region, ok := strings.CutPrefix(key, "drm-resident-"); ok && local(region) {
			resident += amount(value)
		} else if region, ok := strings.CutPrefix(key, "drm-memory-"); ok && local(region) {
			older += amount(value)
		}
	}
	return slot, client, max(resident, older)
}

// local tells a card's own memory from the machine's.
func local(region string) bool {
	return strings.HasPrefix(region, "vram") || strings.HasPrefix(region, "local")
}

// amount reads "12 KiB", "3 MiB" or bytes.
func amount(text string) uint64 {
	number, unit, _ := strings.Cut(text, " ")
	n, err := strconv.ParseUint(number, 10, 44)
	if err != nil {
		return 0
	}
	switch unit {
	case "KiB":
		return n << 10
	case "MiB":
		return n << 20
	}
	return n
}

// compute is what ROCm's processes hold of a card by the kernel's compute driver, in bytes by pid.
func (d *Devices) compute(c card) map[int64]uint64 {
	nodes, _ := fs.Glob(d.root, "sys/class/kfd/kfd/topology/nodes/*/properties")
	for _, node := range nodes {
		var bus, device, function uint64
		if _, err := fmt.Sscanf(c.slot[max(strings.Index(c.slot, ":"), 0):], ":%x:%x.%x", &bus, &device, &function); err != nil {
			return nil
		}
		if property(d.text(path.Dir(node), "properties"), "location_id") != bus<<8|device<<3|function {
			continue
		}
		id := d.text(path.Dir(node), "gpu_id")
		if id == "" || id == "0" {
			continue
		}
		out := map[int64]uint64{}
		files, _ := fs.Glob(d.root, "sys/class/kfd/kfd/proc/*/vram_"+id)
		for _, f := range files {
			if pid, err := strconv.ParseInt(path.Base(path.Dir(f)), 10, 64); err == nil {
				out[pid], _ = d.number(path.Dir(f), path.Base(f))
			}
		}
		return out
	}
	return nil
}

func property(text, name string) uint64 {
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) == 2 && words[0] == name {
			n, _ := strconv.ParseUint(words[1], 10, 64)
			return n
		}
	}
	return 0
}

func sorted(held map[int64]uint64) []int64 { return slices.Sorted(maps.Keys(held)) }
