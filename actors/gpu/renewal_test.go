package gpu

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"modelops/messages"
)

// S30: a lease's time runs on the monotonic clock, and restarts with each renewal.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kind := Kind(nil)
		gpu0, gpu1 := messages.GPUActor("main_pc", "gpu0"), messages.GPUActor("main_pc", "gpu1")
		renew := func(device messages.ActorID, lease string) { kind.Accepted(device, &messages.RenewLease{Lease: lease}) }
		began, over := time.Now(), make(chan time.Duration, 1)
		go func() {
			c, err := kind.Perform(t.Context(), expire{Device: gpu0, Lease: "l1", TTL: 10 * time.Second})
			if x, ok := c.(*messages.ExpireLease); err != nil || !ok || x.Lease != "l1" {
				t.Errorf("ended with %v, %v", c, err)
			}
			over <- time.Since(began)
		}()
		time.Sleep(6 * time.Second)
		renew(gpu0, "l1")
		renew(gpu0, "unknown")
		time.Sleep(3 * time.Second)
		renew(gpu0, "l1")
		time.Sleep(5 * time.Second)
		renew(gpu1, "l1") // a lease of the same name on another device
		if took := <-over; took != 19*time.Second {
			t.Errorf("expired after %s, want 19 s", took)
		}
	})
}

// Leases without a running timer have no entry, and a lease that is granted again under the same name has its own time.
func TestRenewalsLeaveNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &renewals{at: map[timer]*time.Time{}}
		r.note(timer{Lease: "unknown"})
		first, cancel := context.WithCancel(t.Context())
		go func() { _, _ = r.expire(first, expire{Lease: "l1", TTL: time.Hour}) }()
		synctest.Wait()
		second, cancelSecond := context.WithCancel(t.Context())
		go func() { _, _ = r.expire(second, expire{Lease: "l1", TTL: time.Hour}) }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		if len(r.at) != 1 {
			t.Errorf("the first watcher's end took the second's entry: %v", r.at)
		}
		cancelSecond()
		synctest.Wait()
		if len(r.at) != 0 {
			t.Errorf("left behind: %v", r.at)
		}
	})
}
