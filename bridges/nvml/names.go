//go:build linux && cgo

package nvml

import (
	"cmp"
	"slices"
	"strconv"
)

// known is a device that was seen at least once. It is never forgotten, so that a GPU that is gone is shown as lost
// rather than missing from the list.
type known struct {
	number   int // N of gpuN
	uuid     string
	model    string
	capacity uint64 // bytes, from its last good reading
	lost     bool   // in the last reading
}

func (k *known) name() string { return deviceName(k.number) }

func deviceName(number int) string { return "gpu" + strconv.Itoa(number) }

// registry keeps the names of devices over reloads of the driver.
type registry struct {
	devices []*known // by number
}

// admit finds the device by its UUID or names a new one after its index, or after the next free number when a device
// that was seen before has that one.
func (r *registry) admit(index int, uuid string) *known {
	for _, k := range r.devices {
		if k.uuid == uuid {
			return k
		}
	}
	k := &known{number: r.free(index), uuid: uuid}
	r.devices = append(r.devices, k)
	slices.SortFunc(r.devices, func(a, b *known) int { return cmp.Compare(a.number, b.number) })
	return k
}

// free is index, or the next number above all that are taken.
func (r *registry) free(index int) int {
	taken, next := false, 0
	for _, k := range r.devices {
		taken = taken || k.number == index
		next = max(next, k.number+1)
	}
	if taken {
		return next
	}
	return index
}
