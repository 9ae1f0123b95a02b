package sim

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"modelops/messages"
)

// kind of every device here.
const kind = "simulated"

// faultRoom is how many faults wait for a reader.
const faultRoom = 64

// Device says what a simulated device is.
type Device struct {
	ID            string // its name within the host: sim0
	CapacityBytes uint64
	Name          string // for people; empty = "simulated device"
}

// Options joins the ledger with processes that are real although their device isn't.
type Options struct {
	// Pids are the processes that may hold simulated memory now; nil = only what Use declares.
	Pids func() []int64
	// Footprint says what a process of Pids holds, in bytes by device. A use declared with Use for the same device and pid wins.
	Footprint func(pid int64) map[string]uint64
}

// Devices are the simulated devices of a host. Safe for concurrent use.
type Devices struct {
	opts   Options
	faults chan *messages.DeviceFault

	mu     sync.Mutex
	order  []string
	ledger map[string]*ledger
	closed bool
}

// New makes devices with free memory. Ids must differ and every device must have a capacity.
func New(devices []Device, opts Options) (*Devices, error) {
	d := &Devices{opts: opts, faults: make(chan *messages.DeviceFault, faultRoom), ledger: map[string]*ledger{}}
	for _, device := range devices {
		switch {
		case device.ID == "":
			return nil, messages.NewError(messages.InvalidArgument, "sim", "a simulated device has no id").
				WithHint("name it, such as sim0")
		case d.ledger[device.ID] != nil:
			return nil, messages.NewError(messages.InvalidArgument, device.ID, "there are two simulated devices of this id").
				WithHint("give each one its own, such as sim0 and sim1")
		case device.CapacityBytes == 0:
			return nil, messages.NewError(messages.InvalidArgument, device.ID, "the simulated device has no memory").
				WithHint("give it a capacity, such as 8 GiB")
		}
		d.order = append(d.order, device.ID)
		d.ledger[device.ID] = &ledger{id: device.ID, name: title(device.Name), capacity: device.CapacityBytes, used: map[int64]uint64{}}
	}
	return d, nil
}

// title makes the name say that the device is simulated.
func title(name string) string {
	switch {
	case name == "":
		return "simulated device"
	case strings.Contains(strings.ToLower(name), kind):
		return name
	}
	return name + " (simulated)"
}

// Read shows every device in the order in which they were given.
func (d *Devices) Read(ctx context.Context) ([]*messages.DeviceReading, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	seen := d.footprints()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, closedError()
	}
	var out []*messages.DeviceReading
	for _, id := range d.order {
		out = append(out, d.ledger[id].reading(seen[id]))
	}
	return out, nil
}

// footprints asks without the lock, because the callee may use the devices.
func (d *Devices) footprints() map[string]map[int64]uint64 {
	if d.opts.Pids == nil || d.opts.Footprint == nil {
		return nil
	}
	seen := map[string]map[int64]uint64{}
	for _, pid := range d.opts.Pids() {
		for device, bytes := range d.opts.Footprint(pid) {
			if seen[device] == nil {
				seen[device] = map[int64]uint64{}
			}
			seen[device][pid] = bytes
		}
	}
	return seen
}

// Faults delivers what Fault plays, until Close closes it.
func (d *Devices) Faults() <-chan *messages.DeviceFault { return d.faults }

// Status is one sentence for people.
func (d *Devices) Status() string {
	if len(d.order) == 1 {
		return "1 simulated device"
	}
	return fmt.Sprintf("%d simulated devices", len(d.order))
}

// Close ends the faults. It may be called twice; afterwards everything else is refused.
func (d *Devices) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.closed = true
		close(d.faults)
	}
	return nil
}

func closedError() error {
	return messages.NewError(messages.Unavailable, "sim", "the simulated devices are closed")
}
