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
			e := expire{Device: gpu0, Lease: "l1", Epoch: 3, TTL: 10 * time.Second, Until: now.Add(10 * time.Second).UnixMilli()}
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

// Restarts lengthen the life of a lease that nobody renews once, by one and a half times its time to live, however often they come; and that of one
// that was renewed by less than half its time to live again before.
func TestRestartsDontKeepALease(t *testing.T) {
	for name, renewals := range map[string]int{"never renewed": 0, "renewed each second for a minute": 60} {
		m := fresh()
		m.Happen(&messages.DeviceRegistered{Kind: "cuda", CapacityBytes: 100})
		if _, err := m.Do(&messages.ReserveVram{Lease: "l", Holder: "client/train", Bytes: 1, TtlSeconds: 30}); err != nil {
			t.Fatal(err)
		}
		epoch, decisions := m.State.Leases["l"].Epoch, len(m.Recorded)
		for range renewals {
			m.Now = m.Now.Add(time.Second)
			if _, err := m.Do(&messages.RenewLease{Lease: "l", Holder: "client/train", Epoch: epoch}); err != nil {
				t.Fatal(err)
			}
		}
		if told := len(m.Recorded) - decisions; told > 1+renewals/15 {
			t.Errorf("%s: %d decisions", name, told)
		}
		renewed, most := m.Now, (30+45+10)*time.Second
		if renewals > 0 {
			most += 15 * time.Second
		}
		for len(m.State.Leases) > 0 { // each look is of another life of the process
			m.Now = m.Now.Add(10 * time.Second)
			perform := Kind(nil, func() time.Time { return m.Now }).Perform
			c, err := perform(t.Context(), Owed(m.State)[0])
			if err != nil {
				t.Fatal(err)
			}
			if m.Now.Sub(renewed) > most+10*time.Second {
				t.Fatalf("%s: it lives for %s after its last renewal", name, m.Now.Sub(renewed))
			}
			if c == nil {
				continue
			}
			if m.Now.Sub(renewed) < 30*time.Second {
				t.Errorf("%s: it ends %s after its last renewal", name, m.Now.Sub(renewed))
			}
			if _, err := m.Do(c); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// While nobody looked, the clock may have been set on: a lease whose time passed then gets its time once more, and its holder's next renewal counts as
// ever. One that was looked at all the time ends at once.
func TestTimeThatNobodySawPass(t *testing.T) {
	for watched, want := range map[bool]bool{true: false, false: true} {
		m := fresh()
		m.Happen(&messages.DeviceRegistered{Kind: "cuda", CapacityBytes: 100})
		if _, err := m.Do(&messages.ReserveVram{Lease: "l", Holder: "client/train", Bytes: 1, TtlSeconds: 30}); err != nil {
			t.Fatal(err)
		}
		kind := Kind(nil, func() time.Time { return m.Now })
		for n := range 30 {
			if m.Now = m.Now.Add(time.Second); watched && n < 29 {
				if c, err := kind.Perform(t.Context(), Owed(m.State)[0]); c != nil || err != nil {
					t.Fatalf("after %d s: %v, %v", n+1, c, err)
				}
			}
		}
		if !watched {
			m.Now = m.Now.Add(time.Hour)
		}
		c, err := kind.Perform(t.Context(), Owed(m.State)[0])
		if err != nil || c == nil {
			t.Fatal(c, err)
		}
		if _, err := m.Do(c); err != nil || (len(m.State.Leases) > 0) != want {
			t.Errorf("watched %t: %T, leases %v, %v", watched, c, m.State.Leases, err)
		}
		if !want {
			continue
		}
		if r, err := m.Do(c); err != nil || len(r.Events) > 0 {
			t.Errorf("a second time: %v, %v", r.Events, err)
		}
		l := m.State.Leases["l"]
		if r, err := m.Do(&messages.RenewLease{Lease: "l", Holder: l.Holder, Epoch: l.Epoch}); err != nil || len(r.Events) != 1 || m.State.Leases["l"].Unwatched {
			t.Errorf("its holder renews it: %v, %v", r.Events, err)
		}
	}
}

// A renewal that is answered while the report of the lease's end waits in the mailbox keeps the lease.
func TestARenewalOvertakesTheReportOfTheEnd(t *testing.T) {
	m := fresh()
	m.Happen(&messages.DeviceRegistered{Kind: "cuda", CapacityBytes: 100})
	if _, err := m.Do(&messages.ReserveVram{Lease: "l", Holder: "client/train", Bytes: 1, TtlSeconds: 30}); err != nil {
		t.Fatal(err)
	}
	l := m.State.Leases["l"]
	kind := Kind(nil, func() time.Time { return m.Now })
	renew := &messages.RenewLease{Lease: "l", Holder: "client/train", Epoch: l.Epoch}
	for _, late := range []bool{true, false} {
		kind.Accepted(m.ID, renew)
		m.Now = m.Now.Add(29 * time.Second)
		if _, err := kind.Perform(t.Context(), Owed(m.State)[0]); err != nil {
			t.Fatal(err)
		}
		m.Now = m.Now.Add(time.Second)
		end, err := kind.Perform(t.Context(), Owed(m.State)[0])
		if err != nil || end == nil {
			t.Fatal(end, err)
		}
		if late {
			kind.Accepted(m.ID, renew)
		}
		m.Readings = kind.Observe(t.Context(), end)
		if _, err := m.Do(end); err != nil || (len(m.State.Leases) > 0) != late {
			t.Errorf("renewed meanwhile: %t; leases %v, %v", late, m.State.Leases, err)
		}
	}
}

// Memory that nobody could take back isn't granted: its holder must be an actor that can be asked, or have a time to live.
func TestAHolderThatCantBeAskedNeedsATimeToLive(t *testing.T) {
	for holder, ttl := range map[string]uint32{"client/train": 0, "client/x/y": 0, "train": 0, "gateway/main_pc": 0} {
		m := fresh()
		m.Happen(&messages.DeviceRegistered{Kind: "cuda", CapacityBytes: 100})
		if _, err := m.Do(&messages.ReserveVram{Lease: "l", Holder: holder, Bytes: 1, TtlSeconds: ttl}); messages.CodeOf(err) != messages.InvalidArgument {
			t.Errorf("%s: %v", holder, err)
		}
		if _, err := m.Do(&messages.ReserveVram{Lease: "l", Holder: holder, Bytes: 1, TtlSeconds: 1}); err != nil {
			t.Errorf("%s: %v", holder, err)
		}
	}
}
