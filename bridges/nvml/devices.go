//go:build linux && cgo

package nvml

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"modelops/messages"
)

const (
	// faultRoom is how many faults wait for a reader; a GPU in trouble can report hundreds in a second.
	faultRoom = 64
	// closePatience is how long Close waits for a call into the driver, which can hang in the kernel for ever.
	closePatience = 5 * time.Second
	// openPatience is how long Open waits for the library. After that the devices are there once it answers.
	openPatience = 10 * time.Second
)

// Devices are the NVIDIA GPUs of this machine. Safe for concurrent use.
type Devices struct {
	asks   chan ask
	faults chan *messages.DeviceFault
	status atomic.Pointer[string]
	cancel context.CancelFunc
	done   chan struct{} // closed when the owner has gone and the library is shut down
	absent bool          // no library on this machine: there is no owner and never will be
	cards  bool          // the machine has NVIDIA cards, by its bus
}

type ask struct {
	ctx   context.Context
	reply chan []*messages.DeviceReading // room for one, so that the owner never waits for a caller that has left
}

// Open finds the library and the GPUs. It never fails: a machine without a driver has zero readings and says so in
// Status. ctx is the life of the devices: its end is as Close, so it isn't the context of a start.
func Open(ctx context.Context, opts Options) *Devices {
	var found []nvml.LibraryOption
	if opts.LibraryPath != "" {
		found = append(found, nvml.WithLibraryPath(opts.LibraryPath))
	}
	return openWith(ctx, nvml.New(found...), opts)
}

func openWith(ctx context.Context, lib nvml.Interface, opts Options) *Devices {
	ctx, cancel := context.WithCancel(ctx)
	d := &Devices{
		asks:   make(chan ask),
		faults: make(chan *messages.DeviceFault, faultRoom),
		cancel: cancel,
		done:   make(chan struct{}),
		cards:  onBus(opts.root()),
	}
	only, limited := visibleOf(opts.Visible)
	if limited && len(only) == 0 {
		cancel()
		close(d.done)
		d.absent, d.faults = true, nil
		d.say("CUDA_VISIBLE_DEVICES names no device")
		return d
	}
	d.say("the NVIDIA driver hasn't answered yet")
	present := make(chan bool, 1)
	go newOwner(lib, opts.logger(), only, d).run(ctx, present)
	patience := time.NewTimer(openPatience)
	defer patience.Stop()
	select {
	case ok := <-present:
		d.absent = !ok
	case <-patience.C: // a call hangs in the kernel; Read says so until it returns
	case <-ctx.Done():
	}
	if d.absent {
		d.cancel()
		<-d.done
		d.faults = nil
	}
	return d
}

// Read takes a sample of every device ever seen, also of lost ones. It waits for a call of another caller to end, at most
// until ctx does. After Close it fails with Unavailable.
//
// used_bytes counts all programs; processes lists those that the driver can name. A process whose memory the driver doesn't tell
// has bytes 0: it is there, but its share is unknown.
func (d *Devices) Read(ctx context.Context) ([]*messages.DeviceReading, error) {
	if d.absent {
		return nil, ctx.Err()
	}
	q := ask{ctx: ctx, reply: make(chan []*messages.DeviceReading, 1)}
	select {
	case d.asks <- q:
	case <-d.done:
		return nil, closedError()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case readings := <-q.reply:
		return readings, ctx.Err()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Faults delivers Xid and double-bit ECC events until Close closes it; nil where there is no driver. While no
// reader takes them, faults after the first 64 are dropped; the log has them.
func (d *Devices) Faults() <-chan *messages.DeviceFault { return d.faults }

// Status is one sentence for people.
func (d *Devices) Status() string { return *d.status.Load() }

// Close shuts the library down and ends both goroutines. It may be called twice. Where a call into the driver hangs, it
// gives up after 5 s with Unavailable.
func (d *Devices) Close() error {
	d.cancel()
	patience := time.NewTimer(closePatience)
	defer patience.Stop()
	select {
	case <-d.done:
		return nil
	case <-patience.C:
		return messages.NewError(messages.Unavailable, "nvml", "the NVIDIA driver hangs in a call, so the library was left open").
			WithHint("look into dmesg for NVRM lines; a GPU may need a reset or the machine a reboot")
	}
}

func (d *Devices) say(status string) { d.status.Store(&status) }

func closedError() error {
	return messages.NewError(messages.Unavailable, "nvml", "the devices are closed, so they can't be read")
}
