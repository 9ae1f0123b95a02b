//go:build !linux || !cgo

package nvml

import (
	"context"
	"runtime"

	"modelops/messages"
)

// Devices are the NVIDIA GPUs of this machine. This build can't see them.
type Devices struct{}

// Open says in Status that NVML is off in this build.
func Open(_ context.Context, opts Options) *Devices {
	d := &Devices{}
	opts.logger().Info("no NVIDIA devices", "reason", d.Status())
	return d
}

// Read has nothing to read and no error.
func (*Devices) Read(context.Context) ([]*messages.DeviceReading, error) { return nil, nil }

// Faults is nil: there will never be one.
func (*Devices) Faults() <-chan *messages.DeviceFault { return nil }

// Status is one sentence for people.
func (*Devices) Status() string {
	if runtime.GOOS != "linux" {
		return "NVML is off: it is used on Linux only"
	}
	return "built without cgo: NVML is off"
}

// Close has nothing to close.
func (*Devices) Close() error { return nil }
