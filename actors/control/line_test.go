package control

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

func claim(id string, priority int32) *messages.RequestPlacement {
	return &messages.RequestPlacement{Holder: "client/" + id, Priority: priority, Claim: &messages.Claim{Id: id, Needs: []*messages.Need{{Host: "h", Bytes: 7}}}}
}

// Programs wait in the order of their priority and then of their arrival. Who doesn't ask any more loses its place.
func TestLine(t *testing.T) {
	l, at := &Line{}, time.UnixMilli(0)
	l.enter(claim("a", 0), at)
	l.enter(claim("b", 0), at.Add(time.Second))
	l.enter(claim("first", 1), at.Add(2*time.Second))
	l.enter(claim("a", 0), at.Add(9*time.Second)) // asks again
	for id, want := range map[string]int{"first": 1, "a": 2, "b": 3, "none": 0} {
		if got := l.position(id, at.Add(9*time.Second)); got != want {
			t.Errorf("%s has place %d, want %d", id, got, want)
		}
	}
	for _, id := range []string{"first", "a", "a"} {
		l.answered(id, false, at.Add(9*time.Second))
	}
	l.answered("b", false, at.Add(time.Second))
	seen := l.Seeking(at.Add(12*time.Second - 1))
	if len(seen) != 2 || seen[0].Holder != "client/first" || seen[1].Holder != "client/a" || seen[1].WaitedMs != 11999 || seen[0].Priority != 1 || seen[1].State != messages.Allocation_seeking {
		t.Errorf("the scheduler sees %v", seen)
	}
	if a := seen[1]; a.Claim != "a" || a.WantsBytes != 7 || a.WantsHost != "h" {
		t.Errorf("of what it wants the scheduler sees %v", a)
	}
	elsewhere := []*messages.Allocation{{State: messages.Allocation_seeking, Claim: "longer", WaitedMs: 60_000}, {State: messages.Allocation_seeking, Claim: "shorter", WaitedMs: 1},
		{State: messages.Allocation_seeking, Claim: "urgent", WaitedMs: 1, Priority: 1}, {State: messages.Allocation_seeking, Claim: "for another host", WantsHost: "pc2", WaitedMs: 60_000},
		{State: messages.Allocation_seeking, Holder: "model/*/tiny", WaitedMs: 60_000}}
	for id, want := range map[string]int{"a": 2, "first": 0, "none": 0} {
		if got := l.ahead(id, elsewhere, at.Add(11*time.Second)); got != want {
			t.Errorf("%d go before %s elsewhere, want %d", got, id, want)
		}
	}
	if late := at.Add(12*time.Second + 1); len(l.Seeking(late)) > 0 || l.position("a", late) != 1 { // its place is kept, and nobody waits for it
		t.Errorf("the scheduler sees %v", l.Seeking(late))
	}
	l.leave("first")
	if a, b := l.position("a", at.Add(12*time.Second)), l.position("b", at.Add(12*time.Second)); a != 1 || b != 0 {
		t.Errorf("a has place %d, b %d", a, b)
	}
}

// A program that has died while it waited is in nobody's way: not from when it is seen to be away, and not for longer than it takes to ask again. One that comes
// back has its old place.
func TestTheDeadAreInNobodysWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open()
		d := &desk{t: t, h: h, waits: "model/h/big is busy"}
		h.obey = d.obey
		seen := func() (holders []string) {
			for _, a := range h.Line.Seeking(time.Now()) {
				holders = append(holders, a.Holder)
			}
			return holders
		}
		var alive atomic.Bool
		alive.Store(true)
		ask := func(ctx context.Context) {
			_, _ = h.AcquireGpuLease(messages.WithCaller(ctx, messages.Caller{Reads: alive.Load}),
				&messages.GpuLeaseRequest{Client: "first", VramEstimateMb: 3, Claim: "first", WaitSeconds: 60})
		}
		go ask(t.Context())
		synctest.Wait()
		go func() {
			_, _ = h.AcquireGpuLease(t.Context(), &messages.GpuLeaseRequest{Client: "second", VramEstimateMb: 3, Claim: "second", WaitSeconds: 60})
		}()
		time.Sleep(5 * time.Second)
		if got := seen(); len(got) != 2 {
			t.Fatalf("%q wait", got)
		}

		alive.Store(false)
		time.Sleep(2 * time.Second)
		if got, place := seen(), h.Line.position("second", time.Now()); len(got) != 1 || place != 1 {
			t.Errorf("one is away: %q wait, the other has place %d", got, place)
		}
		asked, _ := d.answers("")
		time.Sleep(10 * time.Second)
		if again, closed := d.answers("model/h/big is busy"); again != asked+1 || len(closed) != 1 { // the second one's
			t.Errorf("asked %d times, gave to %q", again-asked, closed)
		}
		alive.Store(true)
		time.Sleep(2 * time.Second)
		if got := seen(); !slices.Equal(got, []string{"client/first"}) || h.Line.Seeking(time.Now())[0].WaitedMs < 15_000 {
			t.Errorf("one is back: %q wait", got)
		}
		time.Sleep(time.Minute)
		if got := seen(); len(got) > 0 {
			t.Errorf("one doesn't ask again: %q wait", got)
		}

		ctx, hangUp := context.WithCancel(t.Context())
		go ask(ctx)
		time.Sleep(time.Second)
		hangUp()
		synctest.Wait()
		if got := seen(); len(got) > 0 {
			t.Errorf("one has hung up: %q wait", got)
		}
	})
}

// A program whose wait is over asks once more without a wait. That gives up its place, so that nobody waits for it.
func TestTheLastQuestionGivesUpThePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open()
		h.obey = (&desk{t: t, h: h, waits: "full"}).obey
		for _, c := range []struct {
			wait    uint32
			waiting int
		}{{3, 1}, {0, 0}} {
			r, err := h.AcquireGpuLease(t.Context(), &messages.GpuLeaseRequest{Client: "first", VramEstimateMb: 3, Claim: "first", WaitSeconds: c.wait})
			if err != nil || r.Granted || len(h.Line.Seeking(time.Now())) != c.waiting {
				t.Errorf("after a wait of %d s: %v, %v, %d wait", c.wait, r, err, len(h.Line.Seeking(time.Now())))
			}
		}
	})
}

// Memory that is granted to a program that has died meanwhile goes back at once.
func TestTheDeadAreGivenNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, alive := open(), true
		d := &desk{t: t, h: h}
		h.obey = func(to messages.ActorID, m proto.Message) (messages.Reply, error) {
			alive = false // while the arbiter decides
			return d.obey(to, m)
		}
		for _, wait := range []uint32{0, 5} {
			alive, d.given = true, nil
			r, err := h.AcquireGpuLease(messages.WithCaller(t.Context(), messages.Caller{Reads: func() bool { return alive }}),
				&messages.GpuLeaseRequest{Client: "first", VramEstimateMb: 3, Claim: "first", WaitSeconds: wait})
			if messages.CodeOf(err) != messages.Cancelled || len(d.closed) > 0 || !slices.Equal(d.given, []string{"lease-1"}) {
				t.Errorf("%v, %v, closed %q, gave up %q", r, err, d.closed, d.given)
			}
		}
	})
}

// A program waits in line until the memory is free, keeps its place when it asks again, and leaves the line with its grant.
func TestALeaseWaitsInLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open()
		d := &desk{t: t, h: h, waits: "model/h/big is busy"}
		began := time.Now()
		h.obey = func(to messages.ActorID, m proto.Message) (messages.Reply, error) {
			if time.Since(began) > 2500*time.Millisecond {
				d.waits = ""
			}
			return d.obey(to, m)
		}
		ask := &messages.GpuLeaseRequest{Client: "trainer", VramEstimateMb: 3, Claim: "want", WaitSeconds: 2, Class: "batch"}
		h.Line.enter(claim("other", 5), time.Now())
		r, err := h.AcquireGpuLease(t.Context(), ask)
		if err != nil || r.Granted || r.Position != 2 || r.WaitsFor != "model/h/big is busy" {
			t.Fatalf("%v, %v", r, err)
		}
		if seen := h.Line.Seeking(time.Now()); len(seen) != 2 || seen[1].WaitedMs < 2000 || seen[1].Priority != -1 {
			t.Errorf("the scheduler sees %v", seen)
		}
		r, err = h.AcquireGpuLease(t.Context(), ask)
		if err != nil || !r.Granted || h.Line.position("want", time.Now()) != 0 || len(d.claims) != 1 {
			t.Fatalf("%v, %v, claims %q, place %d", r, err, d.claims, h.Line.position("want", time.Now()))
		}
	})
}

// A program that names no claim can't come back to its place, so it leaves the line when its request ends.
func TestAPlaceWithoutAClaimEndsWithItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open()
		d := &desk{t: t, h: h, waits: "model/h/big is busy"}
		h.obey = d.obey
		r, err := h.AcquireGpuLease(t.Context(), &messages.GpuLeaseRequest{Client: "trainer", VramEstimateMb: 3, WaitSeconds: 2})
		if err != nil || r.Granted || r.Position != 1 {
			t.Fatalf("%v, %v", r, err)
		}
		if seen := h.Line.Seeking(time.Now()); len(seen) > 0 {
			t.Errorf("the scheduler sees %v", seen)
		}
	})
}

func TestALeasesClass(t *testing.T) {
	h := open()
	if _, err := h.AcquireGpuLease(t.Context(), &messages.GpuLeaseRequest{Class: "urgent"}); messages.CodeOf(err) != messages.InvalidArgument {
		t.Errorf("an unknown class: %v", err)
	}
	if rank, err := h.rankOf("interactive"); rank != 1 || err != nil {
		t.Errorf("interactive has priority %d, %v", rank, err)
	}
}

// A renewal goes to the owner of the lease with holder and epoch. One that no ledger has is refused, and a model's isn't a program's to renew.
func TestRenewLease(t *testing.T) {
	h := open()
	var told []*messages.RenewLease
	h.obey = func(_ messages.ActorID, m proto.Message) (messages.Reply, error) {
		told = append(told, m.(*messages.RenewLease))
		return messages.Reply{Answer: &messages.Done{}}, nil
	}
	h.device("gpu0", &messages.Reservation{Lease: "mine", Holder: "client/x", Epoch: 7, TtlSeconds: 30}, &messages.Reservation{Lease: "models", Holder: "model/h/m", Epoch: 8})
	r, err := h.RenewGpuLease(t.Context(), &messages.GpuLeaseRenewal{LeaseId: "mine", Epoch: 5})
	if err != nil || !r.Success || r.TtlSeconds != 30 || len(told) != 1 || told[0].Epoch != 5 || told[0].Holder != "client/x" {
		t.Errorf("%v, %v, told %v", r, err, told)
	}
	for lease, want := range map[string]messages.Code{"none": messages.NotFound, "models": messages.PermissionDenied} {
		if _, err := h.RenewGpuLease(t.Context(), &messages.GpuLeaseRenewal{LeaseId: lease}); messages.CodeOf(err) != want || len(told) != 1 {
			t.Errorf("%s: %v", lease, err)
		}
	}
}

// Models that left for a lease come back when its holder asks for it.
func TestReleaseBringsModelsBack(t *testing.T) {
	h := open()
	back := map[string]string{}
	h.obey = func(to messages.ActorID, m proto.Message) (messages.Reply, error) {
		if c, ok := m.(*messages.Reinstate); ok {
			back[to.String()] = c.Placement
		}
		return messages.Reply{Answer: &messages.Done{}}, nil
	}
	if _, err := h.ReleaseGpuLease(t.Context(), &messages.GpuLeaseRelease{LeaseId: "over", Restore: []string{"model/h/m"}, Placement: "p"}); err != nil || back["model/h/m"] != "p" {
		t.Errorf("%v, %v", err, back)
	}
	if _, err := h.ReleaseGpuLease(t.Context(), &messages.GpuLeaseRelease{LeaseId: "over", Restore: []string{"host/h"}}); messages.CodeOf(err) != messages.InvalidArgument {
		t.Errorf("a host was told to come back: %v", err)
	}
}
