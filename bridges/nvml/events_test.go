//go:build linux && cgo

package nvml

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

func TestFaultsArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2)
		d := r.devices()
		for _, tc := range []struct {
			event nvml.EventData
			want  *messages.DeviceFault
		}{
			{nvml.EventData{Device: r.Devices[1], EventType: nvml.EventTypeXidCriticalError, EventData: 79},
				&messages.DeviceFault{Device: "gpu1", Fault: "Xid 79: the GPU has fallen off the bus", Code: 79}},
			{nvml.EventData{Device: r.Devices[0], EventType: nvml.EventTypeXidCriticalError, EventData: 777},
				&messages.DeviceFault{Device: "gpu0", Fault: "Xid 777", Code: 777}},
			{nvml.EventData{Device: r.Devices[0], EventType: nvml.EventTypeDoubleBitEccError, GpuInstanceId: 3},
				&messages.DeviceFault{Device: "gpu0", Fault: "double-bit ECC error (MIG instance 3)"}},
			{nvml.EventData{EventType: nvml.EventTypeXidCriticalError, EventData: 31, GpuInstanceId: 0xFFFFFFFF},
				&messages.DeviceFault{Device: "unknown", Fault: "Xid 31: a program's GPU memory page fault", Code: 31}},
		} {
			time.Sleep(3 * time.Second) // some waits time out first
			r.events <- news{event: tc.event}
			if got := <-d.Faults(); !proto.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		}
	})
}

func TestFaultsWithoutAReaderDoNotBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		d := r.devices()
		for range faultRoom + 5 {
			r.events <- news{event: nvml.EventData{Device: r.Devices[0], EventType: nvml.EventTypeXidCriticalError, EventData: 13}}
		}
		synctest.Wait()
		if got := look(t, d); got != "gpu0 79G\n" {
			t.Errorf("got %s", got)
		}
		if n := len(d.Faults()); n != faultRoom {
			t.Errorf("%d faults wait", n)
		}
		if n := strings.Count(r.logged.String(), "was dropped"); n != 5 {
			t.Errorf("%d drops logged", n)
		}
	})
}

// An error of a wait comes again at once: it must not be asked in a circle, but events have to come back.
func TestEventsThatEndComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		d := r.devices()
		r.events <- news{ret: nvml.ERROR_UNKNOWN}
		synctest.Wait()
		look(t, d) // a good reading doesn't call the reload off
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := len(r.pauses()); n != 1 {
			t.Fatalf("%d reloads", n)
		}
		r.events <- news{event: nvml.EventData{Device: r.Devices[0], EventType: nvml.EventTypeXidCriticalError, EventData: 48}}
		if got := <-d.Faults(); got.Code != 48 {
			t.Errorf("got %v", got)
		}
	})
}

func TestEventsAreNotSupported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		d := r.devices()
		r.events <- news{ret: nvml.ERROR_NOT_SUPPORTED}
		time.Sleep(10 * time.Minute)
		if n := len(r.pauses()); n != 0 {
			t.Errorf("%d reloads for what will never be there", n)
		}
		if got := look(t, d); got != "gpu0 79G\n" {
			t.Errorf("got %s", got)
		}
	})
}

func TestEventTellsThatTheDriverIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		d := r.devices()
		r.setDriver(nvml.ERROR_DRIVER_NOT_LOADED)
		r.events <- news{ret: nvml.ERROR_UNINITIALIZED}
		synctest.Wait()
		if got := look(t, d); !strings.Contains(got, "lost") {
			t.Errorf("got %s", got)
		}
		r.setDriver(nvml.SUCCESS)
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if got := look(t, d); got != "gpu0 79G\n" {
			t.Errorf("got %s", got)
		}
	})
}

func TestAWaitThatAlwaysFailsIsNotAskedInACircle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		r.deaf = true
		d := r.devices()
		for range 30 {
			look(t, d)
			time.Sleep(time.Second)
		}
		if opened := len(r.pauses()) + 1; r.waits != opened || opened > 6 {
			t.Errorf("%d waits in %d sessions", r.waits, opened)
		}
	})
}
