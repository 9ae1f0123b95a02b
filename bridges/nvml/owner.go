//go:build linux && cgo

package nvml

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"modelops/messages"
)

const (
	firstPause = time.Second
	lastPause  = time.Minute
)

// owner makes every call into the library, one after the other.
type owner struct {
	lib   nvml.Interface
	log   *slog.Logger
	out   *Devices
	names registry
	only  visible // nil = all

	live  *session         // nil while the driver doesn't answer
	why   nvml.Return      // why live is nil
	retry <-chan time.Time // when the library is opened again; nil when all is well
	pause time.Duration    // the next wait before that
	since time.Time        // when live began
}

func newOwner(lib nvml.Interface, log *slog.Logger, only visible, out *Devices) *owner {
	return &owner{lib: lib, log: log, only: only, out: out, pause: firstPause}
}

// run lives until ctx ends, or at once when this machine has no library at all: then there is nothing to wait for.
func (o *owner) run(ctx context.Context, present chan<- bool) {
	defer close(o.out.done)
	defer close(o.out.faults)
	defer o.stop(nvml.ERROR_UNINITIALIZED)

	o.start()
	if o.live == nil && o.why == nvml.ERROR_LIBRARY_NOT_FOUND {
		o.out.say("no NVIDIA driver on this machine")
		o.log.Info("no NVIDIA driver on this machine: " + explain(o.why))
		present <- false
		return
	}
	present <- true
	for {
		select {
		case <-ctx.Done():
			return
		case q := <-o.out.asks:
			q.reply <- o.read(q.ctx)
		case n := <-o.news():
			o.hear(n)
		case <-o.retry:
			o.retry = nil
			o.stop(o.why)
			o.start()
		}
	}
}

// start opens the library, or plans another try.
func (o *owner) start() {
	s, r := begin(o.lib, &o.names, o.only, o.log)
	if r != nvml.SUCCESS {
		o.fail(r)
		return
	}
	o.live, o.since = s, time.Now()
	o.log.Info("NVIDIA driver found", "version", s.version, "devices", len(s.devices))
	o.report(len(s.broken))
}

// stop ends the session, for the reason that the readings will give.
func (o *owner) stop(why nvml.Return) {
	if o.live != nil {
		o.live.end()
		o.live = nil
	}
	o.why = why
}

// fail ends the session and plans reloads until the driver answers again.
func (o *owner) fail(why nvml.Return) {
	changed := o.live != nil || o.why != why
	o.stop(why)
	o.again()
	o.out.say("the NVIDIA driver doesn't answer: " + explain(why))
	if changed && why != nvml.ERROR_LIBRARY_NOT_FOUND { // no driver is a plain statement, not a fault
		o.log.Warn("the NVIDIA driver doesn't answer", "reason", explain(why))
	}
}

// again plans a reload, with exponential back-off until a session has lasted.
func (o *owner) again() {
	if o.retry != nil {
		return
	}
	o.retry = time.After(o.pause)
	o.pause = min(2*o.pause, lastPause)
}

// well cancels the reload. The back-off is reset only after a session has lasted: events that fail right after each reload
// would otherwise open the library every second.
func (o *owner) well() {
	o.retry = nil
	if time.Since(o.since) >= o.pause {
		o.pause = firstPause
	}
}

// read samples all devices. It stops when its caller has left.
func (o *owner) read(ctx context.Context) []*messages.DeviceReading {
	if o.live == nil {
		return o.allLost(explain(o.why))
	}
	var out []*messages.DeviceReading
	lost := 0
	for _, k := range o.names.devices {
		if ctx.Err() != nil {
			return nil
		}
		reading, r := o.sample(k)
		if driverGone(r) {
			o.fail(r)
			return o.allLost(explain(r))
		}
		o.note(k, reading)
		if k.lost {
			lost++
		}
		out = append(out, reading)
	}
	unnamed := o.unnamed(lost)
	out = append(out, unnamed...)
	o.settle(lost + len(unnamed))
	return out
}

// settle plans a reload when something is wrong and cancels it when nothing is.
func (o *owner) settle(lost int) {
	if lost > 0 || o.live.deaf {
		o.again()
	} else {
		o.well()
	}
	o.report(lost)
}

// report puts the state of the session in a sentence.
func (o *owner) report(lost int) {
	n := max(len(o.names.devices), len(o.live.devices)+len(o.live.broken))
	status := fmt.Sprintf("%s, %d devices", o.live.version, n)
	if n == 1 {
		status = o.live.version + ", 1 device"
	}
	if o.live.hidden > 0 {
		status += fmt.Sprintf(", %d more that CUDA_VISIBLE_DEVICES doesn't name", o.live.hidden)
	}
	if lost > 0 {
		status += fmt.Sprintf(" (%d lost)", lost)
	}
	o.out.say(status)
}

// note keeps the capacity that a lost device is shown with, and logs the change.
func (o *owner) note(k *known, reading *messages.DeviceReading) {
	switch {
	case reading.Lost && !k.lost:
		o.log.Error("a GPU is lost", "device", k.name(), "uuid", k.uuid, "reason", reading.LostReason)
	case !reading.Lost && k.lost:
		o.log.Info("a GPU is back", "device", k.name(), "uuid", k.uuid)
	}
	k.lost = reading.Lost
	if !reading.Lost {
		k.kind = reading.Kind
		k.capacity = reading.CapacityBytes
	}
}

// news is nil, and so never ready, without a session or its events.
func (o *owner) news() <-chan news {
	if o.live == nil || o.live.watch == nil {
		return nil
	}
	return o.live.watch.news
}

// hear passes a fault on, or notes that no further faults will come.
func (o *owner) hear(n news) {
	switch {
	case n.ret == nvml.SUCCESS:
		for _, fault := range o.live.faults(n.event) {
			o.tell(fault)
		}
	case driverGone(n.ret):
		o.fail(n.ret)
	case n.ret == nvml.ERROR_NOT_SUPPORTED:
		o.log.Info("the driver has no GPU events here")
	default:
		o.log.Warn("GPU events ended; the library is opened again", "reason", explain(n.ret))
		o.live.deaf = true
		o.again()
	}
}

func (o *owner) tell(fault *messages.DeviceFault) {
	o.log.Error("GPU fault", "device", fault.Device, "fault", fault.Fault)
	select {
	case o.out.faults <- fault:
	default:
		o.log.Warn("a GPU fault was dropped: no reader takes them", "device", fault.Device, "code", fault.Code)
	}
}
