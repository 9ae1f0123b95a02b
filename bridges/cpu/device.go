package cpu

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"modelops/messages"
)

// deviceName is also the kind of the device: a host has one processor.
const deviceName = "cpu"

// Options says how much of the RAM models may use, and which processes are workers.
type Options struct {
	// BudgetBytes is the RAM for models; 0 = half of what the machine or this process's cgroup has. More than there is
	// counts as all there is.
	BudgetBytes uint64
	// Pids are the workers that are alive, as they were started; nil = none. It is called by Read.
	Pids func() []int64
	// Beside is what processes hold of the RAM and not in pages of their own, in bytes by pid: memory of a GPU that uses the RAM. nil = nothing.
	Beside func() map[int64]uint64
}

// Device is the processor with its RAM budget. Safe for concurrent use.
type Device struct {
	opts Options
	root fs.FS // holds proc and sys
	name string

	mu   sync.Mutex
	last ticks // of the reading before
}

// Open looks up the processor's name. It never fails; where /proc can't be read, Read fails.
func Open(opts Options) *Device { return open(opts, os.DirFS("/")) }

func open(opts Options, root fs.FS) *Device {
	return &Device{opts: opts, root: root, name: modelName(root)}
}

// Read takes a sample. utilization_pct is the share of all cores that was busy since the last Read, 0 the first time.
func (d *Device) Read(ctx context.Context) ([]*messages.DeviceReading, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ram, err := readRAM(d.root)
	if err != nil {
		return nil, unreadable(err)
	}
	workers, err := d.workers()
	if err != nil {
		return nil, unreadable(err)
	}
	reading := &messages.DeviceReading{
		Device: deviceName, Kind: deviceName, Name: d.name,
		CapacityBytes:  d.budget(ram),
		UtilizationPct: d.utilization(),
		EccErrors:      -1,
	}
	var ours, unavailable uint64
	for _, w := range workers {
		ours += w.total
		unavailable += w.resident
		reading.Processes = append(reading.Processes, &messages.ProcessMemory{Pid: w.root, Bytes: w.total})
	}
	if d.opts.Beside != nil {
		for _, bytes := range d.opts.Beside() {
			ours, unavailable = ours+bytes, unavailable+bytes
		}
	}
	others := less(less(ram.total, ram.available), unavailable)
	reading.UsedBytes = ours + less(others, ram.total-reading.CapacityBytes)
	return []*messages.DeviceReading{reading}, nil
}

func (d *Device) workers() ([]usage, error) {
	if d.opts.Pids == nil {
		return nil, nil
	}
	roots := d.opts.Pids()
	if len(roots) == 0 {
		return nil, nil
	}
	return usages(d.root, roots)
}

func (d *Device) budget(ram ram) uint64 {
	if d.opts.BudgetBytes == 0 {
		return ram.total / 2
	}
	return min(d.opts.BudgetBytes, ram.total)
}

func (d *Device) utilization() uint32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := readTicks(d.root)
	pct := now.busyPercent(d.last)
	d.last = now
	return pct
}

// Footprint is what the process tree started as pid holds and the most it ever held, in bytes. The peak is the sum of each
// process's own, so it is an upper bound when they didn't have it at the same time. NotFound when nothing of it is alive.
func (d *Device) Footprint(pid int64) (current, peak uint64, err error) {
	found, err := usages(d.root, []int64{pid})
	if err != nil {
		return 0, 0, unreadable(err)
	}
	if len(found) == 0 {
		return 0, 0, messages.Errorf(messages.NotFound, fmt.Sprintf("pid %d", pid), "no such process is alive, so its memory can't be measured")
	}
	return found[0].total, max(found[0].peak, found[0].total), nil
}

// Faults is nil: the processor reports none.
func (d *Device) Faults() <-chan *messages.DeviceFault { return nil }

// Status is one sentence for people.
func (d *Device) Status() string {
	ram, err := readRAM(d.root)
	if err != nil {
		return "the RAM of this machine can't be read: " + err.Error()
	}
	status := fmt.Sprintf("%s, %s of %s RAM for models", d.name, gib(d.budget(ram)), gib(ram.total))
	if ram.limited {
		status += " (limited by a cgroup)"
	}
	return status
}

// Close has nothing to close.
func (d *Device) Close() error { return nil }

func gib(bytes uint64) string { return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30)) }

// less is a - b, not below 0: the figures come from several files and needn't fit together.
func less(a, b uint64) uint64 { return a - min(a, b) }

func unreadable(cause error) error {
	return messages.NewError(messages.Unavailable, deviceName, "the memory of this machine can't be read").
		WithHint("it needs Linux with /proc mounted").WithCause(cause)
}
