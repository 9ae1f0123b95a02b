package gpu

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
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
	var epoch uint64
	if l, ok := s.Leases[lease]; ok {
		epoch = l.Epoch
		switch rapid.IntRange(0, 7).Draw(t, "sender") { // most senders know what they hold
		case 0: // with the right epoch, and often a stranger
		case 1:
			epoch = rapid.Uint64().Draw(t, "epoch")
		case 2:
			epoch = rapid.SampledFrom([]uint64{0, epoch - 1, epoch + 1}).Draw(t, "near")
			holder = l.Holder
		default:
			holder = l.Holder
		}
	}
	switch rapid.IntRange(0, 11).Draw(t, "command") {
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
	case 10:
		return &messages.RenewLease{Lease: lease, Holder: holder, Epoch: epoch}
	case 8:
		return &messages.ResizeVram{Lease: lease, Holder: holder, Epoch: epoch, Bytes: amount.Draw(t, "resized")}
	}
	return &messages.ObserveDevice{ForeignBytes: amount.Draw(t, "foreign"), Reading: &messages.DeviceReading{Lost: rapid.IntRange(0, 4).Draw(t, "lost") == 0}}
}

// fencedOff requires that a command of another holder or epoch changes nothing. Orders are refused; the ledger's own timers and repairs, which may
// be late, are dropped.
func fencedOff(t *rapid.T, leases map[string]Lease, c fenced, v messages.Reply, err error) {
	l, held := leases[c.GetLease()]
	if held && l.Holder == c.GetHolder() && l.Epoch == c.GetEpoch() {
		return
	}
	if len(v.Events) > 0 {
		t.Fatalf("%T %v changed the lease %+v", c, c, l)
	}
	_, expires := c.(*messages.ExpireLease)
	_, repairs := c.(*messages.ReportLeaseDiffers)
	if refused := messages.CodeOf(err) == messages.FailedPrecondition; held && refused == (expires || repairs) {
		t.Fatalf("%T %v of the lease %+v: %v", c, c, l, err)
	}
}

// sums requires that the ledger's amounts are the sums of what it shows: what is reserved is what the leases hold, and what is free is the rest.
func sums(t *rapid.T, v *messages.GpuView) {
	var held uint64
	for _, r := range v.Reservations {
		held = total(held, cmp.Or(r.MeasuredBytes, r.Bytes))
	}
	left := v.CapacityBytes - min(v.CapacityBytes, v.MarginBytes)
	if v.SoftLimitBytes > 0 {
		left = min(left, v.SoftLimitBytes)
	}
	if v.LimitBytes != left || v.ReservedBytes != held || v.FreeBytes != left-min(left, total(held, v.ForeignBytes)) {
		t.Fatalf("the sums are wrong: limit %d, leases hold %d: %v", left, held, v)
	}
}

// total is a sum that stops at the largest number. It is not the ledger's own, which is what is tested.
func total(a, b uint64) uint64 {
	sum, carry := bits.Add64(a, b, 0)
	if carry > 0 {
		return math.MaxUint64
	}
	return sum
}

// For any order of commands: leases and foreign use together never exceed the limit at the moment of a grant; a stranger or an older holder changes
// nothing; asking again repeats the grant; releasing twice releases once; the journal alone gives the same ledger.
func TestNeverOvercommitted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := fresh()
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			c := anyCommand(t, m.State)
			before := m.State
			v, err := m.Do(c)
			s := m.State
			if f, ok := c.(fenced); ok {
				fencedOff(t, before.Leases, f, v, err)
			}
			sums(t, View(s).(*messages.GpuView))
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
