package gpu

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"modelops/messages"
)

// anyCommand draws a ledger's commands, invalid ones included.
func anyCommand(t *rapid.T, s State) proto.Message {
	lease := fmt.Sprintf("l%d", rapid.IntRange(0, 4).Draw(t, "lease"))
	amount := rapid.OneOf(rapid.Uint64Range(0, 12), rapid.Map(rapid.Uint64Range(0, 12), func(n uint64) uint64 { return n * 512 * messages.MiB }), rapid.Uint64())
	holder := rapid.SampledFrom([]string{"model/a/x", "client/y"}).Draw(t, "holder")
	epoch := rapid.Uint64Range(0, 3).Draw(t, "epoch")
	if l, ok := s.Leases[lease]; ok && epoch > 0 { // most senders know what they hold
		holder, epoch = l.Holder, l.Epoch
	}
	switch rapid.IntRange(0, 10).Draw(t, "command") {
	case 0:
		return &messages.RegisterDevice{Kind: "cuda", CapacityBytes: rapid.Uint64Range(0, 8).Draw(t, "gib") * messages.GiB,
			MarginBytes: amount.Draw(t, "margin"), SoftLimitBytes: rapid.Uint64Range(0, 8).Draw(t, "soft") * messages.GiB}
	case 1, 2, 3:
		return &messages.ReserveVram{Lease: lease, Holder: holder,
			Bytes: amount.Draw(t, "bytes"), TtlSeconds: rapid.Uint32Range(0, 2).Draw(t, "ttl")}
	case 4:
		return &messages.SettleVram{Lease: lease, Holder: holder, Epoch: epoch, MeasuredBytes: amount.Draw(t, "measured")}
	case 5:
		return &messages.ReleaseVram{Lease: lease, Holder: holder, Epoch: epoch}
	case 6:
		return &messages.ExpireLease{Lease: lease, Holder: holder, Epoch: epoch}
	case 7:
		return &messages.ReportFault{}
	case 9:
		return &messages.ReportLeaseDiffers{Lease: lease, Holder: holder, Epoch: epoch}
	case 8:
		return &messages.ResizeVram{Lease: lease, Holder: holder, Epoch: epoch, Bytes: amount.Draw(t, "resized")}
	}
	return &messages.ObserveDevice{ForeignBytes: amount.Draw(t, "foreign"), Reading: &messages.DeviceReading{Lost: rapid.IntRange(0, 4).Draw(t, "lost") == 0}}
}

// For any order of commands: leases and foreign use together never exceed the limit at the moment of a grant; asking again repeats the grant;
// releasing twice releases once; the journal alone gives the same ledger.
func TestNeverOvercommitted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := fresh()
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			c := anyCommand(t, m.State)
			before := m.State
			v, err := m.Do(c)
			s := m.State
			if f, ok := c.(fenced); ok && len(v.Events) > 0 {
				if l := before.Leases[f.GetLease()]; l.Holder != f.GetHolder() || l.Epoch != f.GetEpoch() {
					t.Fatalf("%v changed the lease %+v", c, l)
				}
			}
			for _, e := range v.Events {
				if r, ok := e.(*messages.VramResized); ok && r.Bytes > before.Leases[r.Lease].Holds() && plus(s.Reserved(), s.Foreign) > s.Limit() {
					t.Fatalf("grew a lease to %d: reserved %d + foreign %d > limit %d", r.Bytes, s.Reserved(), s.Foreign, s.Limit())
				}
				if r, ok := e.(*messages.VramReserved); ok && r.Bytes > 0 && plus(s.Reserved(), s.Foreign) > s.Limit() {
					t.Fatalf("granted %d: reserved %d + foreign %d > limit %d", r.Bytes, s.Reserved(), s.Foreign, s.Limit())
				}
			}
			if r, ok := c.(*messages.ReserveVram); ok && err == nil {
				g := v.Answer.(*messages.VramGrant)
				if l := s.Leases[r.Lease]; l.Holder != r.Holder || g.Epoch != l.Epoch || g.Bytes != l.Bytes || l.Epoch == 0 {
					t.Fatalf("answered %v for %+v", g, l)
				}
				if len(v.Events) == 0 && before.Leases[r.Lease] != s.Leases[r.Lease] {
					t.Fatalf("asking again changed the grant %+v", s.Leases[r.Lease])
				}
			}
			if _, ok := c.(*messages.ReportFault); !ok { // each fault is a fact of its own
				if again, _ := m.Do(c); len(again.Events) > 0 {
					t.Fatalf("%T told twice happened twice: %v", c, again.Events)
				}
			}
			m.Owed()
		}
		if err := m.Replayed(rapid.IntRange(0, len(m.Recorded)).Draw(t, "snapshot")); err != nil {
			t.Fatal(err)
		}
	})
}
