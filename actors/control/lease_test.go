package control

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// desk is an arbiter that grants memory to one program after some questions.
type desk struct {
	mu       sync.Mutex
	t        *testing.T
	h        *house
	looks    int  // until the memory is reserved; < 0 = never
	far      bool // it is another host's: its decisions change no view here
	late     bool // the memory went back before the program took it over
	waits    string
	refuses  error
	requests int
	claims   []string
	closed   []string
	given    []string // placements that were given up
}

// answers makes it say what a program waits for, "" = nothing, and tells how often it was asked before, and what it has closed.
func (d *desk) answers(waits string) (requests int, closed []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waits = waits
	return d.requests, slices.Clone(d.closed)
}

func (d *desk) obey(to messages.ActorID, m proto.Message) (messages.Reply, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch c := m.(type) {
	case *messages.RequestPlacement:
		d.requests++
		if !slices.Contains(d.claims, c.Claim.Id) {
			d.claims = append(d.claims, c.Claim.Id)
		}
		switch {
		case d.refuses != nil:
			return messages.Reply{}, d.refuses
		case d.waits != "":
			return messages.Reply{Answer: &messages.PlacementReply{WaitsFor: d.waits}}, nil
		}
		if d.requests <= d.looks && !d.far {
			d.h.view.StateChanged(messages.ArbiterActor(), uint64(d.requests), &messages.ArbiterView{})
		}
		share := &messages.Share{Gpu: "gpu/h/gpu0", Bytes: c.Claim.Needs[0].Bytes, Lease: "lease-1"}
		if d.looks >= 0 && d.requests > d.looks {
			share.Epoch = 9
		}
		return messages.Reply{Answer: &messages.PlacementReply{Placement: &messages.Placement{Id: "lease-1", Holder: c.Holder, Shares: []*messages.Share{share}}}}, nil
	case *messages.ClosePlacement:
		if !c.TakenOver || d.late {
			return messages.Reply{}, messages.NewError(messages.FailedPrecondition, c.Id, "the placement was given up")
		}
		d.closed = append(d.closed, c.Id)
	case *messages.AbandonPlacement:
		d.given = append(d.given, c.Id)
	default:
		d.t.Errorf("%s was sent %T", to, m)
	}
	return messages.Reply{Answer: &messages.Done{}}, nil
}

// The arbiter decides over a program's memory, and the program waits while victims leave. A lack of memory is an answer with a retry time; every
// other refusal is an error.
func TestAcquireLease(t *testing.T) {
	for name, c := range map[string]struct {
		desk    *desk
		granted bool
		code    messages.Code
		given   []string
		never   bool
	}{
		"there is room":                  {desk: &desk{}, granted: true},
		"a victim leaves first":          {desk: &desk{looks: 3}, granted: true},
		"the arbiter is elsewhere":       {desk: &desk{looks: 3, far: true}, granted: true},
		"all holders are busy":           {desk: &desk{waits: "full"}},
		"it fits no device":              {desk: &desk{refuses: messages.NewError(messages.GPUUnavailable, "client/python", "too large")}, never: true},
		"no device is there yet":         {desk: &desk{refuses: messages.NewError(messages.GPUUnavailable, "client/python", "no device").WithRetry(1)}},
		"its caller is too slow":         {desk: &desk{late: true}},
		"the victims don't leave":        {desk: &desk{looks: -1}, given: []string{"lease-1"}},
		"the arbiter's journal is full":  {desk: &desk{refuses: messages.NewError(messages.JournalFull, "journal", "full")}, code: messages.JournalFull},
		"the arbiter can't be asked now": {desk: &desk{refuses: messages.NewError(messages.Unavailable, "arbiter", "it restarts")}, code: messages.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, d := open(), c.desk
				d.t, d.h = t, h
				h.obey = d.obey
				r, err := h.AcquireGpuLease(t.Context(), &messages.GpuLeaseRequest{Client: "python", VramEstimateMb: 3, TtlSeconds: 60})
				switch {
				case d.looks >= 0 && d.requests != d.looks+1 || d.requests > int(leaseWithin/placementPause)+1:
					t.Errorf("asked %d times", d.requests)
				case messages.CodeOf(err) != c.code || !slices.Equal(d.given, c.given):
					t.Errorf("%v, gave up %q", err, d.given)
				case c.granted && (!r.Granted || r.LeaseId != "lease-1" || r.VramReservedMb != 3 || !slices.Equal(d.closed, []string{"lease-1"}) || len(d.claims) != 1):
					t.Errorf("%v, closed %q, claims %q", r, d.closed, d.claims)
				case c.code == 0 && r.NeverFits != c.never:
					t.Errorf("never fits: %v", r.NeverFits)
				case c.code == 0 && !c.granted && (r.Granted || r.Reason != "Insufficient VRAM" || r.RetryAfterMs != 250 || len(d.closed) > 0):
					t.Errorf("%v, closed %q", r, d.closed)
				}
			})
		})
	}
}

// A host that isn't of the cluster has no memory for which anybody could wait.
func TestALeaseOfAnUnknownHostIsRefused(t *testing.T) {
	h := open()
	_, err := h.AcquireGpuLease(t.Context(), &messages.GpuLeaseRequest{Host: "pc9", WaitSeconds: 60})
	is(t, err, messages.NotFound, "host pc9", "it is no member of this cluster")
	h.o.Hosts = &otherHosts{}
	_, err = h.AcquireGpuLease(t.Context(), &messages.GpuLeaseRequest{Host: "pc9", WaitSeconds: 60})
	is(t, err, messages.NotFound, "host pc9", "it is no member of this cluster")
	if len(h.asked) > 0 {
		t.Errorf("asked %q", h.asked)
	}
}

// A need that can't be counted in bytes is refused: 2^44 MiB are 2^64 bytes, which wrap to none, and the program would be told that it has them.
func TestALeaseThatCannotBeCountedIsRefused(t *testing.T) {
	if _, err := open().AcquireGpuLease(t.Context(), &messages.GpuLeaseRequest{Client: strings.Repeat("c", 257)}); messages.CodeOf(err) != messages.InvalidArgument {
		t.Errorf("a client's name of 257 bytes: %v", err)
	}
	for _, mb := range []int64{-1, mostLeaseMB + 1, 1 << 44, math.MaxInt64} {
		h := open()
		if r, err := h.AcquireGpuLease(t.Context(), &messages.GpuLeaseRequest{VramEstimateMb: mb}); messages.CodeOf(err) != messages.InvalidArgument || len(h.asked) > 0 {
			t.Errorf("%d MiB: %v, %v, asked %q", mb, r, err, h.asked)
		}
	}
}

// A caller that leaves while victims go holds nothing.
func TestACallerThatLeavesGivesItsPlacementUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open()
		d := &desk{t: t, h: h, looks: -1}
		h.obey = d.obey
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := h.AcquireGpuLease(ctx, &messages.GpuLeaseRequest{}); messages.CodeOf(err) != messages.DeadlineExceeded || !slices.Equal(d.given, []string{"lease-1"}) {
			t.Errorf("%v, gave up %q", err, d.given)
		}
	})
}

// Missing fields of a request have the legacy contract's defaults. Its highest priority is 1, models have the lowest.
func TestLeaseDefaults(t *testing.T) {
	for _, c := range []struct {
		asked          *messages.GpuLeaseRequest
		holder         string
		bytes          uint64
		ttl            uint32
		priority       int32
		reservedMB     int64
		alwaysReserved bool
	}{
		{asked: &messages.GpuLeaseRequest{}, holder: "client/unknown", ttl: 30},
		{asked: &messages.GpuLeaseRequest{Priority: -2}, holder: "client/unknown", ttl: 30},
		{asked: &messages.GpuLeaseRequest{Client: "a", VramEstimateMb: 2, TtlSeconds: 5, Priority: 1}, holder: "client/a", bytes: 2 * messages.MiB, ttl: 5, priority: 4, reservedMB: 2},
		{asked: &messages.GpuLeaseRequest{Client: "a", Priority: 5}, holder: "client/a", ttl: 30},
		{asked: &messages.GpuLeaseRequest{Client: "a", Priority: 99}, holder: "client/a", ttl: 30},
	} {
		h := open()
		d := &desk{t: t, h: h}
		h.obey = func(to messages.ActorID, m proto.Message) (messages.Reply, error) {
			if r, ok := m.(*messages.RequestPlacement); ok {
				n := r.Claim.Needs[0]
				if r.Holder != c.holder || n.Bytes != c.bytes || r.Claim.TtlSeconds != c.ttl || r.Priority != c.priority || n.Host != "" || r.Preemptible {
					t.Errorf("%v asks for %v", c.asked, r)
				}
			}
			return d.obey(to, m)
		}
		if r, err := h.AcquireGpuLease(t.Context(), c.asked); err != nil || !r.Granted || r.VramReservedMb != c.reservedMB {
			t.Errorf("%v: %v, %v", c.asked, r, err)
		}
	}
}

// A lease is released with its holder and epoch. An unknown one counts as released, and a program can't release a model's.
func TestReleaseLease(t *testing.T) {
	refused := messages.NewError(messages.JournalFull, "journal", "full")
	for lease, c := range map[string]struct {
		refuse error
		asked  []string
		code   messages.Code
	}{
		"l1":   {nil, []string{"gpu/h/gpu1 ReleaseVram"}, 0},
		"what": {}, "": {},
		"l0": {refused, []string{"gpu/h/gpu0 ReleaseVram"}, messages.JournalFull},
		"m":  {code: messages.PermissionDenied},
	} {
		t.Run(fmt.Sprintf("%q", lease), func(t *testing.T) {
			h := open()
			h.device("gpu0", &messages.Reservation{Lease: "l0", Holder: "client/a", Epoch: 4}, &messages.Reservation{Lease: "m", Holder: "model/h/tiny", Epoch: 5})
			h.device("gpu1", &messages.Reservation{Lease: "l1", Holder: "client/b", Epoch: 6})
			h.obey = func(_ messages.ActorID, m proto.Message) (messages.Reply, error) {
				if r := m.(*messages.ReleaseVram); r.Lease != lease || r.Holder == "" || r.Epoch == 0 {
					t.Errorf("released %v", r)
				}
				return messages.Reply{}, c.refuse
			}
			ack, err := h.ReleaseGpuLease(t.Context(), &messages.GpuLeaseRelease{LeaseId: lease})
			if messages.CodeOf(err) != c.code || err == nil && !ack.Success || !slices.Equal(h.asked, c.asked) {
				t.Errorf("%v, %v, asked %q", ack, err, h.asked)
			}
		})
	}
}

// What a door sends to a ledger bears its sender's key, whatever the body of a command says. The role admin bears none: it may release all.
func TestLeasesBearTheirCallersKey(t *testing.T) {
	caller := func(p messages.Principal) context.Context {
		return messages.WithCaller(t.Context(), messages.Caller{Principal: p})
	}
	for name, c := range map[string]struct {
		who       messages.Principal
		owner, by string
	}{
		"a key":          {messages.Principal{Name: "a", Fingerprint: "f", Role: messages.Role_OPERATE}, "f", "f"},
		"a proxy's user": {messages.Principal{Name: "a", Role: messages.Role_OPERATE}, "user/a", "user/a"},
		"nobody":         {messages.Principal{Role: messages.Role_OPERATE}, "", "-"},
		"an admin":       {messages.Principal{Name: "operator", Fingerprint: "o", Role: messages.Role_ADMIN}, "o", ""},
	} {
		h := open()
		h.live = []messages.ActorID{messages.GPUActor("h", "gpu0")}
		h.device("gpu0", &messages.Reservation{Lease: "l0", Holder: "client/a", Epoch: 4})
		var bore []string
		h.obey = func(_ messages.ActorID, m proto.Message) (messages.Reply, error) {
			switch m := m.(type) {
			case *messages.RequestPlacement:
				bore = append(bore, "asked "+m.Owner)
				return messages.Reply{Answer: &messages.PlacementReply{WaitsFor: "room"}}, nil
			case *messages.ReserveVram:
				bore = append(bore, "reserved "+m.Owner)
			case *messages.ReleaseVram:
				bore = append(bore, "released "+m.By)
			case *messages.RenewLease:
				bore = append(bore, "renewed "+m.By)
			}
			return messages.Reply{Answer: &messages.Done{}}, nil
		}
		ctx := caller(c.who)
		_, asked := h.AcquireGpuLease(ctx, &messages.GpuLeaseRequest{Client: "a", VramEstimateMb: 1})
		_, released := h.ReleaseGpuLease(ctx, &messages.GpuLeaseRelease{LeaseId: "l0"})
		errs := []error{asked, released}
		for command, fields := range map[string]map[string]any{
			"ReserveVram": {"lease": "l0", "holder": "client/a", "owner": "another"},
			"ReleaseVram": {"lease": "l0", "holder": "client/a", "epoch": 4.0, "by": "another"},
			"RenewLease":  {"lease": "l0", "holder": "client/a", "epoch": 4.0, "by": ""},
		} {
			_, err := h.SendCommand(ctx, &messages.SendRequest{Actor: "gpu/h/gpu0", Command: command, Body: body(t, fields)})
			errs = append(errs, err)
		}
		slices.Sort(bore)
		want := []string{"asked " + c.owner, "released " + c.by, "released " + c.by, "renewed " + c.by, "reserved " + c.owner}
		if !slices.Equal(bore, want) {
			t.Errorf("%s: %q, errors %v", name, bore, errs)
		}
	}
}
