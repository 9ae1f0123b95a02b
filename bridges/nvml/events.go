//go:build linux && cgo

package nvml

import (
	"fmt"
	"math"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"modelops/messages"
)

// waitMilliseconds is how long a wait for events blocks a thread, and so how long a shutdown may have to wait for it.
const waitMilliseconds = 500

// wanted are the events that report trouble with a device or with a program on it.
const wanted = nvml.EventTypeXidCriticalError | nvml.EventTypeDoubleBitEccError

// watch waits for events in its own goroutine, because a wait blocks.
type watch struct {
	set  nvml.EventSet
	news chan news
	stop chan struct{}
	done chan struct{}
}

// news is an event, or with ret other than SUCCESS the end of events.
type news struct {
	event nvml.EventData
	ret   nvml.Return
}

// listen registers for events of all devices; nil when no device has events.
func (s *session) listen() *watch {
	if !s.has("nvmlEventSetCreate") || !s.has("nvmlDeviceRegisterEvents") || !s.has("nvmlEventSetWait", "nvmlEventSetWait_v2") {
		return nil
	}
	set, r := s.lib.EventSetCreate()
	if r != nvml.SUCCESS {
		s.log.Info("the driver has no GPU events here", "reason", explain(r))
		return nil
	}
	registered := 0
	asked := map[nvml.Device]bool{} // instances of one card share its events
	for _, d := range s.devices {
		if !asked[d.card] && s.register(d, set) {
			registered++
		}
		asked[d.card] = true
	}
	if registered == 0 {
		set.Free()
		return nil
	}
	w := &watch{set: set, news: make(chan news), stop: make(chan struct{}), done: make(chan struct{})}
	go w.run()
	return w
}

// register asks for what the device supports: without ECC a request for ECC events would be refused as a whole.
func (s *session) register(d device, set nvml.EventSet) bool {
	types := uint64(wanted)
	if s.has("nvmlDeviceGetSupportedEventTypes") {
		if supported, r := d.card.GetSupportedEventTypes(); r == nvml.SUCCESS {
			types &= supported
		}
	}
	if types == 0 {
		return false
	}
	r := d.card.RegisterEvents(types, set)
	if r != nvml.SUCCESS {
		s.log.Info("a GPU reports no events", "device", d.name(), "reason", explain(r))
	}
	return r == nvml.SUCCESS
}

// run ends after the first answer that is neither an event nor a timeout: such an answer would repeat at once, without end.
func (w *watch) run() {
	defer close(w.done)
	for {
		event, r := w.set.Wait(waitMilliseconds)
		if r == nvml.ERROR_TIMEOUT {
			select {
			case <-w.stop:
				return
			default:
				continue
			}
		}
		select {
		case w.news <- news{event, r}:
		case <-w.stop:
			return
		}
		if r != nvml.SUCCESS {
			return
		}
	}
}

// end may be called on nil. It returns when no call is under way.
func (w *watch) end() {
	if w == nil {
		return
	}
	close(w.stop)
	<-w.done
	w.set.Free()
}

// wholeEvent stands in an event for "not about a MIG instance"; drivers without MIG leave zero.
const wholeEvent = math.MaxUint32

// concerns are the names of the devices that an event is about: the card, or the MIG instance, or all instances of the card when the event
// doesn't say which. The handle of an event is compared, not asked: a lost device can't say its UUID.
func (s *session) concerns(event nvml.EventData) (names []string) {
	var all []string
	for _, d := range s.devices {
		if d.card != event.Device {
			continue
		}
		all = append(all, d.name())
		if d.instance != wholeCard && s.has("nvmlDeviceGetGpuInstanceId") {
			if id, r := d.handle.GetGpuInstanceId(); r == nvml.SUCCESS && uint32(id) == event.GpuInstanceId {
				names = append(names, d.name())
			}
		}
	}
	switch {
	case len(names) > 0:
		return names
	case len(all) > 0:
		return all
	}
	return []string{"unknown"}
}

// faults are an event's, one for each device that it is about.
func (s *session) faults(event nvml.EventData) (out []*messages.DeviceFault) {
	for _, name := range s.concerns(event) {
		fault := &messages.DeviceFault{Device: name, Fault: faultWords(event.EventType, event.EventData), Code: event.EventData}
		if id := event.GpuInstanceId; id != wholeEvent && id != 0 {
			fault.Fault += fmt.Sprintf(" (MIG instance %d)", id)
		}
		out = append(out, fault)
	}
	return out
}
