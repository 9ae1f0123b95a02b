package gpu

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

// S30: a lease's time runs on the clock of its process, and restarts with each renewal.
func TestRenewal(t *testing.T) {
	gpu0, gpu1 := messages.GPUActor("main_pc", "gpu0"), messages.GPUActor("main_pc", "gpu1")
	type renewal struct {
		after  time.Duration
		device messages.ActorID
		lease  string
		epoch  uint64
	}
	for name, c := range map[string]struct {
		renewals []renewal
		ends     time.Duration
	}{
		"never renewed":                     {nil, 10 * time.Second},
		"renewed twice":                     {[]renewal{{6 * time.Second, gpu0, "l1", 3}, {9 * time.Second, gpu0, "l1", 3}}, 19 * time.Second},
		"renewed when its first is over":    {[]renewal{{6 * time.Second, gpu0, "l1", 3}, {15 * time.Second, gpu0, "l1", 3}}, 25 * time.Second},
		"renewed between two looks":         {[]renewal{{8500 * time.Millisecond, gpu0, "l1", 3}}, 19 * time.Second},
		"another lease is renewed":          {[]renewal{{6 * time.Second, gpu0, "l2", 3}}, 10 * time.Second},
		"one of its name elsewhere":         {[]renewal{{6 * time.Second, gpu1, "l1", 3}}, 10 * time.Second},
		"an earlier grant of it is renewed": {[]renewal{{6 * time.Second, gpu0, "l1", 2}}, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			now := entitytest.Epoch
			kind := Kind(nil, func() time.Time { return now })
			e := expire{Device: gpu0, Lease: "l1", Epoch: 3, TTL: 10 * time.Second}
			for look := now.Add(e.Delay()); ; {
				for len(c.renewals) > 0 && !entitytest.Epoch.Add(c.renewals[0].after).After(look) {
					r := c.renewals[0]
					now, c.renewals = entitytest.Epoch.Add(r.after), c.renewals[1:]
					kind.Accepted(r.device, &messages.RenewLease{Lease: r.lease, Epoch: r.epoch})
				}
				now = look
				command, err := kind.Perform(t.Context(), e)
				if err != nil {
					t.Fatal(err)
				}
				if command != nil {
					break
				}
				if now.After(entitytest.Epoch.Add(time.Hour)) {
					t.Fatal("it never ends")
				}
				pause, longest := entity.Paced(e).Pace()
				if pause != longest {
					t.Fatal("the longer it lives, the later its end is seen")
				}
				look = look.Add(pause)
			}
			if took := now.Sub(entitytest.Epoch); took != c.ends {
				t.Errorf("it ends after %s, want %s", took, c.ends)
			}
		})
	}
}

// What ends a lease ends what is remembered of its renewals, whether a late command of an earlier grant comes or not.
func TestRenewalsLeaveNothingBehind(t *testing.T) {
	for name, ends := range map[string]proto.Message{
		"released":  &messages.ReleaseVram{Lease: "l1", Epoch: 3},
		"expired":   &messages.ExpireLease{Lease: "l1", Epoch: 3},
		"reclaimed": &messages.ReportLeaseDiffers{Lease: "l1", Epoch: 3},
	} {
		t.Run(name, func(t *testing.T) {
			r, id := &renewals{now: time.Now, at: map[timer]time.Time{}}, messages.GPUActor("main_pc", "gpu0")
			r.note(id, &messages.RenewLease{Lease: "l1", Epoch: 3})
			r.note(id, &messages.ExpireLease{Lease: "l1", Epoch: 2})
			if len(r.at) != 1 {
				t.Error("the end of an earlier grant ended it")
			}
			r.note(id, ends)
			if len(r.at) != 0 {
				t.Errorf("left behind: %v", r.at)
			}
		})
	}
}
