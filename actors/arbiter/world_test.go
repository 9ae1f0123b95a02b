package arbiter

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"modelops/actors/entity"
	"modelops/messages"
)

// crowded is a world of two hosts whose devices are mostly full, and a claim in it. Memory is in single bytes.
type crowded struct {
	*messages.SchedulerReadings
	s       State
	claim   *messages.RequestPlacement
	overdue bool
	leaving map[string]bool
}

// worldMs is when a claim is decided.
const worldMs = 1_000_000

func drawCrowded(t *rapid.T) *crowded {
	w := &crowded{SchedulerReadings: &messages.SchedulerReadings{}, s: New(messages.ArbiterActor()), overdue: rapid.IntRange(0, 3).Draw(t, "overdue") == 0}
	for _, id := range []string{"gpu/h/g0", "gpu/h/g1", "gpu/i/g0", "gpu/i/g1"} {
		w.Ledgers = append(w.Ledgers, &messages.GpuView{Id: id, Host: hostOf(id), Kind: "cuda", LimitBytes: rapid.Uint64Range(10, 20).Draw(t, "limit"),
			ForeignBytes: rapid.SampledFrom([]uint64{0, 0, 0, 1, 4}).Draw(t, "foreign")})
	}
	for n := range rapid.IntRange(2, 9).Draw(t, "holders") {
		w.holder(t, n)
	}
	if a := rapid.SampledFrom(w.Allocations).Draw(t, "victim"); rapid.IntRange(0, 2).Draw(t, "leaves") == 0 {
		w.s.Open["o"] = Open{Step: Evicting, Placement: &messages.Placement{Id: "o", Holder: "model/h/other", Claim: "1", Victims: []string{a.Holder},
			Shares: []*messages.Share{{Gpu: a.Shares[0].Gpu, Lease: "o", Bytes: rapid.Uint64Range(1, 4).Draw(t, "promised")}}}}
	}
	w.leaving = w.s.leaving()
	holder := rapid.SampledFrom([]string{"model/*/m", "model/h/m", "model/i/m", "client/p"}).Draw(t, "holder")
	w.claim = request(holder, rapid.Uint64Range(1, 22).Draw(t, "need"))
	w.claim.Claim.Needs[0].Shards = rapid.SampledFrom([]uint32{1, 1, 1, 2}).Draw(t, "shards")
	w.claim.Claim.Groups = rapid.SampledFrom([][]string{nil, nil, {"g"}}).Draw(t, "groups")
	if w.overdue {
		w.Allocations = append(w.Allocations, &messages.Allocation{Holder: holder, State: messages.Allocation_seeking, WaitedMs: 31_000})
	}
	return w
}

// holder puts a holder on one device or two of a host; the ledgers count what it holds, which may differ from what it was granted.
func (w *crowded) holder(t *rapid.T, n int) {
	at := rapid.IntRange(0, len(w.Ledgers)-1).Draw(t, "device")
	devices := w.Ledgers[at : at+1]
	if rapid.IntRange(0, 4).Draw(t, "split") == 0 {
		devices = w.Ledgers[at/2*2 : at/2*2+2]
	}
	a := &messages.Allocation{Holder: fmt.Sprintf("model/%s/r%d", devices[0].Host, n), Pinned: rapid.IntRange(0, 5).Draw(t, "pinned") == 0,
		IdleMs: rapid.SampledFrom([]int64{50, 5000, 90_000}).Draw(t, "idle"), LoadMs: rapid.Int64Range(0, 9000).Draw(t, "load"), HeldMs: rapid.Int64Range(0, 9000).Draw(t, "held"),
		Young: rapid.IntRange(0, 3).Draw(t, "young") == 0, Groups: rapid.SampledFrom([][]string{nil, nil, {"g"}, {"x", "g"}}).Draw(t, "member")}
	if a.Pinned {
		a.PinnedUntilMs = rapid.SampledFrom([]int64{0, 0, worldMs + 7_000, worldMs + 9_000}).Draw(t, "until")
	}
	a.State = rapid.SampledFrom([]messages.Allocation_State{messages.Allocation_settled, messages.Allocation_settled, messages.Allocation_settled, messages.Allocation_dormant,
		messages.Allocation_starting, messages.Allocation_changing}).Draw(t, "state")
	switch rapid.IntRange(0, 5).Draw(t, "busy") {
	case 0:
		a.Active = 1
	case 1:
		a.Queued = 1
	}
	for _, l := range devices {
		bytes := rapid.Uint64Range(1, 8).Draw(t, "bytes")
		r := &messages.Reservation{Lease: fmt.Sprint(a.Holder, l.Id), Holder: a.Holder, Bytes: bytes, MeasuredBytes: rapid.SampledFrom([]uint64{0, 0, bytes - min(1, bytes-1), bytes + 1}).Draw(t, "measured")}
		if held := granted(r); l.ReservedBytes+held <= l.LimitBytes {
			l.Reservations, l.ReservedBytes = append(l.Reservations, r), l.ReservedBytes+held
			a.Shares = append(a.Shares, &messages.Share{Gpu: l.Id, Bytes: bytes})
		}
	}
	if len(a.Shares) > 0 || n < 2 {
		if len(a.Shares) == 0 {
			a.Shares = []*messages.Share{{Gpu: devices[0].Id}}
		}
		w.Allocations = append(w.Allocations, a)
	}
}

func granted(r *messages.Reservation) uint64 {
	if r.MeasuredBytes > 0 {
		return r.MeasuredBytes
	}
	return r.Bytes
}

func (w *crowded) decide(t *rapid.T) (*messages.PlacementDecided, error) {
	at := entity.Stamp{Now: time.UnixMilli(worldMs), ID: "p", Readings: w.SchedulerReadings}
	v, err := Rules{Policy: "lru", Collation: 100 * time.Millisecond}.Decide(w.s, w.claim, at)
	if err != nil {
		return nil, err
	}
	if d, ok := v.Events[0].(*messages.PlacementDecided); ok {
		return d, nil
	}
	return nil, nil
}

// fitsWithout tells whether a share has room on a device once some holders have left it, beside those that leave anyway.
func (w *crowded) fitsWithout(l *messages.GpuView, gone func(holder string) bool) bool {
	used := w.share() + l.ForeignBytes
	for _, r := range l.Reservations {
		if !w.leaving[r.Holder] && !gone(r.Holder) {
			used += granted(r)
		}
	}
	for _, o := range w.s.Open {
		if bytes, on := o.Placement.On(l.Id); on {
			used += bytes
		}
	}
	return used <= l.LimitBytes
}

func (w *crowded) share() uint64 {
	n := uint64(w.claim.Claim.Needs[0].Shards)
	return (w.claim.Claim.Needs[0].Bytes + n - 1) / n
}

func (w *crowded) of(holder string) *messages.Allocation {
	i := slices.IndexFunc(w.Allocations, func(a *messages.Allocation) bool {
		return a.Holder == holder && a.State != messages.Allocation_seeking
	})
	return w.Allocations[i]
}

// rests tells whether a holder may be asked to leave by a claim that isn't overdue.
func (w *crowded) rests(a *messages.Allocation) bool {
	awake := a.State == messages.Allocation_settled && a.IdleMs >= 100
	return !a.Pinned && a.Active+a.Queued == 0 && (awake || a.State == messages.Allocation_dormant)
}

func (w *crowded) rival(a *messages.Allocation) bool {
	return len(w.claim.Claim.Groups) > 0 && slices.Contains(a.Groups, "g")
}

// canHold are the devices on which the holder may be, as far as hosts matter.
func (w *crowded) canHold(l *messages.GpuView) bool {
	_, host, _ := parts(w.claim.Holder)
	return IsProgram(w.claim.Holder) || host == messages.AnyHost || host == l.Host
}

func (w *crowded) checkVictims(t *rapid.T, p *messages.Placement, chosen []*messages.GpuView) {
	for i, v := range p.Victims {
		a := w.of(v)
		if w.leaving[v] || a.Pinned || !w.rests(a) && (!w.overdue || a.State != messages.Allocation_settled && a.State != messages.Allocation_dormant) {
			t.Fatalf("%v is to leave; overdue %t, leaving %v", a, w.overdue, w.leaving)
		}
		others := slices.Delete(slices.Clone(p.Victims), i, i+1)
		if !w.rival(a) && !slices.ContainsFunc(chosen, func(l *messages.GpuView) bool {
			return !w.fitsWithout(l, func(h string) bool { return slices.Contains(others, h) })
		}) {
			t.Fatalf("%v has to leave, and needn't: %v", a, p)
		}
		if w.rival(a) || len(chosen) > 1 || w.rests(a) && !a.Young {
			continue
		}
		sooner := func(h string) bool {
			o := w.of(h)
			return w.rests(o) && !(a.Young && w.rests(a) && o.Young) || slices.Contains(p.Victims, h) && w.rival(o)
		}
		if w.fitsWithout(chosen[0], sooner) {
			t.Fatalf("%v has to leave, and those that go sooner would do: %v", a, p)
		}
	}
	for _, a := range w.Allocations {
		if w.rival(a) && a.State != messages.Allocation_seeking && !w.leaving[a.Holder] && !slices.Contains(p.Victims, a.Holder) {
			t.Fatalf("%v stays beside a member of its group", a)
		}
	}
}

// In a crowded world of two hosts a decision has what was asked for, on its host; nobody leaves who may stay, who needn't go, or before those that
// go sooner; there is room once the victims are gone; and a claim waits only if no device would do. The order of the readings doesn't matter.
func TestDecisionsInACrowdedWorld(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawCrowded(t)
		d, err := w.decide(t)
		w.shuffle(t)
		again, _ := w.decide(t)
		if !proto.Equal(sortedVictims(d), sortedVictims(again)) {
			t.Fatalf("%v, and with the readings in another order %v", d, again)
		}
		grouped := len(w.claim.Claim.Groups) > 0 && slices.ContainsFunc(w.Allocations, w.rival)
		if d == nil {
			large := 0
			for _, l := range w.Ledgers {
				if w.canHold(l) && w.share() <= l.LimitBytes {
					large++
				}
				may := func(h string) bool { return w.rests(w.of(h)) }
				if err == nil && !grouped && w.canHold(l) && w.share() <= l.LimitBytes && w.claim.Claim.Needs[0].Shards == 1 && w.fitsWithout(l, may) {
					t.Fatalf("waits, and %s would do", l.Id)
				}
			}
			if w.checkPins(t, err); messages.CodeOf(err) == messages.FailedPrecondition {
				return
			}
			if err != nil && large >= 3 || err == nil && large == 0 {
				t.Fatalf("%v, although %d devices are large enough", err, large)
			}
			return
		}
		p, chosen := d.Placement, []*messages.GpuView{}
		for _, s := range p.Shares {
			l := w.Ledgers[slices.IndexFunc(w.Ledgers, func(l *messages.GpuView) bool { return l.Id == s.Gpu })]
			if l.Host != p.Host || !w.canHold(l) || slices.Contains(chosen, l) || s.Bytes != w.share() {
				t.Fatalf("share %v of %v", s, p)
			}
			if chosen = append(chosen, l); !w.fitsWithout(l, func(h string) bool { return slices.Contains(p.Victims, h) }) {
				t.Fatalf("%v has no room on %v", p, l)
			}
		}
		if len(chosen) != int(w.claim.Claim.Needs[0].Shards) {
			t.Fatalf("%v for %v", p, w.claim)
		}
		w.checkVictims(t, p, chosen)
		for _, l := range w.Ledgers {
			if len(p.Victims) > 0 && !grouped && len(chosen) == 1 && w.canHold(l) && w.fitsWithout(l, func(string) bool { return false }) {
				t.Fatalf("%v, although %s has room", p, l.Id)
			}
		}
	})
}

// checkPins: a name without a place is refused exactly if pins alone would keep it from one, until the last pin in its way ends.
func (w *crowded) checkPins(t *rapid.T, err error) {
	byName := anyHost(w.claim.Holder)
	if messages.CodeOf(err) != messages.FailedPrecondition {
		if err == nil && byName && w.heldAt(worldMs) {
			t.Fatal("waits, although only pins keep it from a place")
		}
		return
	}
	end := int64(math.MaxInt64)
	if retry := messages.AsError(err).Retry; retry > 0 {
		if end = worldMs + retry.Milliseconds(); w.heldAt(end) {
			t.Fatalf("%v, and pins hold it then too", err)
		}
		end--
	}
	if !byName || !w.heldAt(end) {
		t.Fatalf("%v, although pins don't keep it from a place at %d", err, end)
	}
}

// heldAt tells whether the pins of a time alone keep the claim from a place that it could have.
func (w *crowded) heldAt(at int64) bool {
	pinned := func(holder string) bool {
		a := w.of(holder)
		return a.Pinned && (a.PinnedUntilMs == 0 || a.PinnedUntilMs > at) && a.State != messages.Allocation_changing && !w.leaving[holder]
	}
	large, room := map[string]uint32{}, map[string]uint32{}
	for _, l := range w.Ledgers {
		if !w.canHold(l) || w.share() > l.LimitBytes {
			continue
		}
		large[l.Host]++
		used := w.share()
		for _, r := range l.Reservations {
			if pinned(r.Holder) {
				used += granted(r)
			}
		}
		if used <= l.LimitBytes {
			room[l.Host]++
		}
	}
	shards := w.claim.Claim.Needs[0].Shards
	some := func(hosts map[string]uint32) bool { return max(hosts["h"], hosts["i"]) >= shards }
	rival := slices.ContainsFunc(w.Allocations, func(a *messages.Allocation) bool {
		return a.State != messages.Allocation_seeking && w.rival(a) && pinned(a.Holder)
	})
	return some(large) && (rival || !some(room))
}

func (w *crowded) shuffle(t *rapid.T) {
	w.Ledgers = rapid.Permutation(w.Ledgers).Draw(t, "ledgers")
	w.Allocations = rapid.Permutation(w.Allocations).Draw(t, "allocations")
	for _, l := range w.Ledgers {
		l.Reservations = rapid.Permutation(l.Reservations).Draw(t, "reservations")
	}
}

func sortedVictims(d *messages.PlacementDecided) *messages.Placement {
	p := proto.CloneOf(d.GetPlacement())
	if p != nil {
		slices.Sort(p.Victims)
	}
	return p
}
