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
	instance int // M of gpuN-migM; wholeCard for a card
	uuid     string
	model    string
	kind     string // from its last good reading
	capacity uint64 // bytes, from its last good reading
	lost     bool   // in the last reading
}

// wholeCard is the instance of a device that is no MIG instance.
const wholeCard = -1

func (k *known) name() string {
	if k.instance != wholeCard {
		return deviceName(k.number) + "-mig" + strconv.Itoa(k.instance)
	}
	return deviceName(k.number)
}

func deviceName(number int) string { return "gpu" + strconv.Itoa(number) }

// registry keeps the names of devices over reloads of the driver.
type registry struct {
	devices []*known // by number, then instance
}

// admit finds the device by its UUID or names a new one after its index, or after the next free number when a device
// that was seen before has that one. A MIG instance is named after its card's index and its own.
func (r *registry) admit(index, instance int, uuid string) *known {
	for _, k := range r.devices {
		if k.uuid == uuid {
			return k
		}
	}
	k := &known{number: index, instance: instance, uuid: uuid}
	if instance == wholeCard {
		k.number = r.free(index)
	}
	for instance != wholeCard && r.has(k.name()) {
		k.instance++
	}
	r.devices = append(r.devices, k)
	slices.SortFunc(r.devices, func(a, b *known) int {
		return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.instance, b.instance))
	})
	return k
}

func (r *registry) has(name string) bool {
	return slices.ContainsFunc(r.devices, func(k *known) bool { return k.name() == name })
}

// free is index, or the next number above all that are taken.
func (r *registry) free(index int) int {
	taken, next := false, 0
	for _, k := range r.devices {
		if k.instance == wholeCard {
			taken = taken || k.number == index
			next = max(next, k.number+1)
		}
	}
	if taken {
		return next
	}
	return index
}
