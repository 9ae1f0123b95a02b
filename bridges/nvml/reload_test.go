//go:build linux && cgo

package nvml

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

func TestBackOffUntilTheModuleIsLoaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		r.driver = nvml.ERROR_DRIVER_NOT_LOADED
		d := r.devices()
		if got := look(t, d); got != "" {
			t.Errorf("readings without a driver: %s", got)
		}
		if got := d.Status(); !strings.Contains(got, "kernel module isn't loaded") {
			t.Errorf("status %q", got)
		}
		time.Sleep(4 * time.Minute)
		synctest.Wait()
		if got, want := r.pauses(), []int{1, 2, 4, 8, 16, 32, 60, 60}; !slices.Equal(got, want) {
			t.Errorf("waits %v, want %v", got, want)
		}
		r.setDriver(nvml.SUCCESS)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := look(t, d); got != "gpu0 79G\n" {
			t.Errorf("after the driver came: %s", got)
		}
		if n := strings.Count(r.logged.String(), "doesn't answer"); n != 1 {
			t.Errorf("the same failure was logged %d times", n)
		}
	})
}

func TestDriverReload(t *testing.T) {
	for name, mood := range map[string]nvml.Return{
		"updated":  nvml.ERROR_LIB_RM_VERSION_MISMATCH,
		"unloaded": nvml.ERROR_DRIVER_NOT_LOADED,
		"shut":     nvml.ERROR_UNINITIALIZED,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 3)
				d := r.devices()
				first := look(t, d)
				r.setDriver(mood)
				why := explain(mood)
				if got, want := look(t, d), "gpu0 79G lost: "+why+"\ngpu1 79G lost: "+why+"\ngpu2 79G lost: "+why+"\n"; got != want {
					t.Errorf("while it is away:\n%swant\n%s", got, want)
				}
				if !strings.Contains(d.Status(), why) {
					t.Errorf("status %q", d.Status())
				}
				time.Sleep(2 * time.Second) // one more Init fails
				r.setDriver(nvml.SUCCESS)
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if got := look(t, d); got != first {
					t.Errorf("after the reload:\n%swant\n%s", got, first)
				}
				if got := r.pauses(); !slices.Equal(got, []int{1, 2}) && !slices.Equal(got, []int{0, 1, 2}) {
					t.Errorf("waits %v", got)
				}
				time.Sleep(10 * time.Minute)
				if n := len(r.pauses()); n != 2 {
					t.Errorf("a healthy driver was opened again: %d times", n)
				}
			})
		})
	}
}

// The driver counts by bus position; after a reload with a card less, or in another order, a name means the same card.
func TestNamesStayWithTheUUID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 3)
		d := r.devices()
		look(t, d)
		uuids := map[string]string{"gpu0": r.card(0).UUID, "gpu1": r.card(1).UUID, "gpu2": r.card(2).UUID}
		first, second, third := r.Devices[0], r.Devices[1], r.Devices[2]

		reload := func(now ...nvml.Device) {
			r.setDriver(nvml.ERROR_UNINITIALIZED)
			look(t, d)
			r.Devices = now
			r.setDriver(nvml.SUCCESS)
			time.Sleep(2 * time.Second)
			synctest.Wait()
		}
		reload(third, first)
		if got, want := look(t, d), "gpu0 79G\ngpu1 79G lost: the driver no longer lists it\ngpu2 79G\n"; got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
		fresh := newRig(t, 1)
		r.equip(fresh.card(0))
		reload(fresh.Devices[0], second, third, first)
		readings, err := d.Read(t.Context())
		if err != nil || len(readings) != 4 {
			t.Fatal(readings, err)
		}
		uuids["gpu3"] = fresh.card(0).UUID
		for _, m := range readings {
			if m.Lost || m.Uuid != uuids[m.Device] {
				t.Errorf("%s is %s (lost %v), want %s", m.Device, m.Uuid, m.Lost, uuids[m.Device])
			}
		}
	})
}

func TestGPULostAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2)
		d := r.devices()
		look(t, d)
		r.setCard(1, nvml.ERROR_GPU_IS_LOST)
		lost := "gpu0 79G\ngpu1 79G lost: " + explain(nvml.ERROR_GPU_IS_LOST) + "\n"
		if got := look(t, d); got != lost {
			t.Errorf("got\n%swant\n%s", got, lost)
		}
		if got := d.Status(); !strings.HasSuffix(got, "2 devices (1 lost)") {
			t.Errorf("status %q", got)
		}
		for range 40 { // the reloads in between find it lost, too, and the other one well
			time.Sleep(3 * time.Second)
			synctest.Wait()
			if got := look(t, d); got != lost {
				t.Fatalf("got\n%swant\n%s", got, lost)
			}
		}
		if n := len(r.pauses()); n < 4 || n > 8 {
			t.Errorf("%d reloads in two minutes: %v", n, r.pauses())
		}
		r.setCard(1, nvml.SUCCESS)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := look(t, d); got != "gpu0 79G\ngpu1 79G\n" {
			t.Errorf("after it came back:\n%s", got)
		}
		log := r.logged.String()
		if strings.Count(log, "a GPU is lost") != 1 || strings.Count(log, "a GPU is back") != 1 {
			t.Errorf("the log tells it more or less than once:\n%s", log)
		}
	})
}

func TestGPUDeadFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2)
		r.setCard(0, nvml.ERROR_GPU_IS_LOST)
		d := r.devices()
		// Its UUID can't be known, so the name is only borrowed.
		if got, want := look(t, d), "gpu1 79G\ngpu0 0G lost: "+explain(nvml.ERROR_GPU_IS_LOST)+"\n"; got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
		r.setCard(0, nvml.SUCCESS)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := look(t, d); got != "gpu0 79G\ngpu1 79G\n" {
			t.Errorf("after it came back:\n%s", got)
		}
	})
}

func TestALossThatPassesNeedsNoReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		d := r.devices()
		r.setCard(0, nvml.ERROR_RESET_REQUIRED)
		look(t, d)
		r.setCard(0, nvml.SUCCESS)
		look(t, d)
		time.Sleep(10 * time.Minute)
		if n := len(r.pauses()); n != 0 {
			t.Errorf("%d reloads", n)
		}
	})
}
