package gpu

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// Each lease has the work that its holder and its time to live ask for. What that work comes to is believed by the ledger: it carries the lease's
// holder and epoch.
func TestWhatALedgerOwesEndsItsLeases(t *testing.T) {
	m := fresh()
	m.Happen(&messages.DeviceRegistered{Kind: "cuda", CapacityBytes: 100})
	m.Happen(&messages.VramReserved{Lease: "l1", Holder: "model/main_pc/a", Bytes: 1})
	m.Happen(&messages.VramReserved{Lease: "l2", Holder: "client/train", Bytes: 1, TtlSeconds: 1})
	m.Happen(&messages.VramReserved{Lease: "l3", Holder: "model/main_pc/b", Bytes: 1})
	m.Happen(&messages.VramResized{Lease: "l3", Bytes: 2})
	m.Happen(&messages.VramReserved{Lease: "l4", Holder: "model/main_pc/c", Bytes: 1})
	m.Happen(&messages.VramSettled{Lease: "l4", MeasuredBytes: 2})
	owed := Owed(m.State)
	if want := []entity.Effect{
		reconcile{Lease: "l1", Holder: messages.ModelActor("main_pc", "a"), Epoch: 2},
		expire{Device: m.ID, Lease: "l2", Holder: "client/train", Epoch: 3, TTL: time.Second, Until: 1000},
		reconcile{Lease: "l3", Holder: messages.ModelActor("main_pc", "b"), Epoch: 4, TakenOver: true},
		reconcile{Lease: "l4", Holder: messages.ModelActor("main_pc", "c"), Epoch: 6, TakenOver: true},
	}; !slices.Equal(owed, want) {
		t.Fatalf("owed %+v, want %+v", owed, want)
	}
	for _, e := range owed {
		if x, ok := e.(expire); ok {
			x.Once = true
			e = x
		}
		synctest.Test(t, func(t *testing.T) {
			c, err := Kind(&doubter{answers: []string{"no", "no", "no"}}, func() time.Time { return m.Now.Add(time.Minute) }).Perform(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			v, err := m.Do(c)
			if err != nil || len(v.Events) != 1 {
				t.Errorf("%T %v: %v, %v", c, c, v.Events, err)
			}
			if r, ok := v.Events[0].(*messages.LeaseReclaimed); ok && (r.Reason == "" || r.Holder == "" || r.Epoch == 0) {
				t.Errorf("it says %v", r)
			}
		})
	}
	if len(m.State.Leases) > 0 || m.State.Reclaimed != 3 {
		t.Errorf("left %+v", m.State)
	}
}

func TestALedgerIsShown(t *testing.T) {
	m := fresh()
	m.Happen(&messages.DeviceRegistered{Kind: "cuda", Name: "RTX", Uuid: "u1", CapacityBytes: 1000, MarginBytes: 100, SoftLimitBytes: 800})
	m.Happen(&messages.VramReserved{Lease: "l2", Holder: "client/train", Bytes: 50, TtlSeconds: 30})
	m.Happen(&messages.VramReserved{Lease: "l1", Holder: "model/main_pc/a", Bytes: 300})
	m.Happen(&messages.VramSettled{Lease: "l1", MeasuredBytes: 400})
	m.Happen(&messages.ForeignUseChanged{Bytes: 200})
	m.Happen(&messages.DeviceLost{Reason: "fell off the bus"})
	want := &messages.GpuView{Id: "gpu/main_pc/gpu0", Host: "main_pc", Device: "gpu0", Kind: "cuda", Name: "RTX", Uuid: "u1", CapacityBytes: 1000, MarginBytes: 100, SoftLimitBytes: 800,
		LimitBytes: 800, ReservedBytes: 450, ForeignBytes: 200, FreeBytes: 150, Lost: true, LostReason: "fell off the bus",
		Reservations: []*messages.Reservation{{Lease: "l1", Holder: "model/main_pc/a", Bytes: 300, MeasuredBytes: 400, Epoch: 3},
			{Lease: "l2", Holder: "client/train", Bytes: 50, TtlSeconds: 30, Epoch: 2}}}
	if got := View(m.State); !proto.Equal(got, want) {
		t.Errorf("it is shown as\n%v, want\n%v", got, want)
	}
}
