package arbiter

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

// gpus are devices g0, g1, ... of the host h, each with as much reserved.
func gpus(limit uint64, reserved ...uint64) (out []*messages.GpuView) {
	for i, r := range reserved {
		out = append(out, &messages.GpuView{Id: fmt.Sprintf("gpu/h/g%d", i), Host: "h", Kind: "cuda", LimitBytes: limit, ReservedBytes: r})
	}
	return out
}

// onGPU is an idle holder on one of them.
func onGPU(i int, name string, bytes uint64, change ...func(*messages.Allocation)) *messages.Allocation {
	a := settled("model/h/"+name, fmt.Sprintf("gpu/h/g%d", i), bytes)
	a.IdleMs = 1000
	for _, f := range change {
		f(a)
	}
	return a
}

func grouped(a *messages.Allocation) { a.Groups = []string{"g"} }

func idleFor(d time.Duration) func(*messages.Allocation) {
	return func(a *messages.Allocation) { a.IdleMs = d.Milliseconds() }
}

func sought(holder string, waited time.Duration) *messages.Allocation {
	return &messages.Allocation{Holder: holder, State: messages.Allocation_seeking, WaitedMs: waited.Milliseconds()}
}

// What counts as a load: not a relief, not a placement that is given up, not a program.
func TestWhatCountsAsALoad(t *testing.T) {
	for name, open := range map[string]Open{
		"a relief":  {Placement: &messages.Placement{Id: "o", Victims: []string{"model/h/v"}}, Step: Evicting},
		"given up":  {Placement: &messages.Placement{Id: "o", Holder: "model/h/x"}, Step: Releasing},
		"a program": {Placement: &messages.Placement{Id: "o", Holder: "client/p"}, Step: Reserved},
		"":          {Placement: &messages.Placement{Id: "o", Holder: "model/h/x"}, Step: Reserved},
	} {
		s := New(messages.ArbiterActor())
		s.Open["o"] = open
		if n := starting(s, nil); (n == 0) != (name != "") {
			t.Errorf("%q counts as %d loads", name, n)
		}
	}
}

// Each case is a world in which one claim has one right answer.
func TestOnePlacementIsRight(t *testing.T) {
	const big = "model/h/big"
	evicting := &messages.PlacementDecided{Placement: &messages.Placement{Id: "o", Holder: "model/h/o", Victims: []string{"model/h/a"}, Shares: []*messages.Share{{Gpu: "gpu/h/g0", Bytes: 4}}}}
	lesser := gpus(10, 0, 0)
	lesser[1].Id, lesser[1].Host, lesser[1].Kind = "gpu/i/g0", "i", "cpu"
	lesser = append(lesser, proto.CloneOf(lesser[1]))
	lesser[2].Id = "gpu/i/g1"
	known := gpus(10, 8)
	known[0].Reservations = []*messages.Reservation{{Holder: "model/h/a", Bytes: 8}}
	split := func(n uint32, bytes uint64, groups ...string) *messages.RequestPlacement {
		c := request(big, bytes)
		c.Claim.Needs[0].Shards, c.Claim.Groups = n, groups
		return c
	}
	kinds := split(2, 16)
	kinds.Holder, kinds.Claim.Needs[0].Kinds = "model/*/big", []string{"cuda", "cpu"}
	busyOne := onGPU(0, "a", 8, func(a *messages.Allocation) { a.Active = 1 })
	for name, c := range map[string]struct {
		past    []proto.Message
		ledgers []*messages.GpuView
		holders []*messages.Allocation
		claim   *messages.RequestPlacement
		on      []string // nil = it waits
		victims []string
	}{
		"the memory of a victim on its way out is free": {past: []proto.Message{evicting}, ledgers: known, holders: []*messages.Allocation{onGPU(0, "a", 8)},
			claim: request(big, 6), on: []string{"gpu/h/g0"}},
		"what is reserved is in the ledger": {past: []proto.Message{&messages.PlacementDecided{Placement: &messages.Placement{Id: "o", Holder: "model/h/o", Shares: []*messages.Share{{Gpu: "gpu/h/g0", Bytes: 4}}}},
			&messages.PlacementReserved{Id: "o", Epochs: []uint64{1}}}, ledgers: gpus(10, 4), claim: request(big, 6), on: []string{"gpu/h/g0"}},
		"a rival's memory is room": {ledgers: gpus(10, 10), holders: []*messages.Allocation{onGPU(0, "x", 2), onGPU(0, "r", 8, grouped)},
			claim: split(1, 8, "g"), on: []string{"gpu/h/g0"}, victims: []string{"model/h/r"}},
		"a rival's memory is room where it is": {ledgers: gpus(10, 8, 8), holders: []*messages.Allocation{onGPU(0, "x", 8), onGPU(1, "r", 8, grouped)},
			claim: split(1, 8, "g"), on: []string{"gpu/h/g1"}, victims: []string{"model/h/r"}},
		"a rival leaves where there is room too": {ledgers: gpus(10, 1, 0), holders: []*messages.Allocation{onGPU(0, "r", 1, grouped)},
			claim: split(2, 8, "g"), on: []string{"gpu/h/g0", "gpu/h/g1"}, victims: []string{"model/h/r"}},
		"four devices, all of them full": {ledgers: gpus(10, 8, 8, 8, 8), holders: []*messages.Allocation{onGPU(0, "a", 8), onGPU(1, "b", 8), onGPU(2, "c", 8), onGPU(3, "d", 8)},
			claim: split(4, 40), on: []string{"gpu/h/g0", "gpu/h/g1", "gpu/h/g2", "gpu/h/g3"}, victims: []string{"model/h/a", "model/h/b", "model/h/c", "model/h/d"}},
		"a better kind counts where there is enough of it": {ledgers: lesser, claim: kinds, on: []string{"gpu/i/g0", "gpu/i/g1"}},
		"a busy one stays up to the bound":                 {ledgers: gpus(10, 8), holders: []*messages.Allocation{busyOne, sought(big, 5*time.Second)}, claim: request(big, 8)},
		"and leaves for an overdue claim": {ledgers: gpus(10, 8), holders: []*messages.Allocation{busyOne, sought(big, 5*time.Second+time.Millisecond)}, claim: request(big, 8),
			on: []string{"gpu/h/g0"}, victims: []string{"model/h/a"}},
		"who has waited as long isn't before it": {ledgers: gpus(10, 8), holders: []*messages.Allocation{onGPU(0, "a", 8), sought(big, time.Second), sought("model/h/other", time.Second)}, claim: request(big, 8),
			on: []string{"gpu/h/g0"}, victims: []string{"model/h/a"}},
		"who moves by a plan is no victim": {past: []proto.Message{&messages.DefragDecided{Id: "d", Moves: []*messages.Move{{Holder: "model/h/a", From: "gpu/h/g0", To: "gpu/h/g9"}}}},
			ledgers: gpus(10, 8), holders: []*messages.Allocation{onGPU(0, "a", 8)}, claim: request(big, 8)},
	} {
		m := entitytest.Drive(Kind(Rules{Policy: "lru"}, nil, nil), messages.ArbiterActor())
		m.Happen(c.past...)
		p := decide(t, m, seen(c.ledgers, c.holders...), c.claim).GetPlacement()
		var on, leases []string
		for _, s := range p.GetShares() {
			on, leases = append(on, s.Gpu), append(leases, s.Lease)
		}
		if !slices.Equal(on, c.on) || !slices.Equal(p.GetVictims(), c.victims) || len(slices.Compact(slices.Sorted(slices.Values(leases)))) != len(c.on) {
			t.Errorf("%s: on %v with leases %v, %v leave; want %v, %v", name, on, leases, p.GetVictims(), c.on, c.victims)
		}
	}
}

// No victim beats any, whatever the costs are: on a device, and on a set of them.
func TestFreeDevicesBeatCheapOnes(t *testing.T) {
	of := func(gpu string, cost float64, victims ...*messages.Victim) *messages.Candidate {
		return &messages.Candidate{Gpu: gpu, Cost: cost, Victims: victims}
	}
	one, two := question{needs: []need{{shards: 1}}}, question{needs: []need{{shards: 2}}}
	if c := one.choose([]*messages.Candidate{of("gpu/h/a", 1, &messages.Victim{}), of("gpu/h/b", 5)}); c[0].Gpu != "gpu/h/b" {
		t.Errorf("chose %v", c)
	}
	if c := two.choose([]*messages.Candidate{of("gpu/h/a", 1, &messages.Victim{}), of("gpu/h/b", 1), of("gpu/i/a", 5), of("gpu/i/b", 5)}); hostOf(c[0].Gpu) != "i" {
		t.Errorf("chose %v", c)
	}
}

// What is left over is spared from the policy's end, to the last byte.
func TestTheMostValuableAreSpared(t *testing.T) {
	four := func(name string, idle int64) allocated { return idleModel(name, 4, idle, 1, 1) }
	for _, c := range []struct {
		need uint64
		rs   []allocated
		want []string
	}{
		{8, []allocated{four("a", 9), idleModel("b", 8, 1, 1, 1)}, []string{"b"}},
		{12, []allocated{four("a", 9), four("b", 8), idleModel("c", 8, 1, 1, 1)}, []string{"a", "c"}},
		{9, []allocated{four("a", 9), idleModel("b", 8, 1, 1, 1)}, []string{"a", "b"}},
		{4, []allocated{four("b", 9), four("a", 9)}, []string{"a"}}, // equals by name, whatever the order of the readings is
	} {
		if v, ok := chooseVictims(policies["lru"], c.need, 0, c.rs, terms{}, nil); !ok || !slices.Equal(names(v), c.want) {
			t.Errorf("for %d: %v, want %v", c.need, names(v), c.want)
		}
	}
}

func TestWhatAViewSaysOfAnAllocation(t *testing.T) {
	view := func(change func(*messages.ModelView)) *messages.Allocation {
		v := &messages.ModelView{Id: "model/h/m", Phase: messages.ModelView_ready, ReadyMs: 40_000, Spec: &messages.ModelSpec{MinResidencySeconds: 60},
			Placement: &messages.Placement{Shares: []*messages.Share{{Gpu: "gpu/h/g0", Bytes: 4}}}}
		change(v)
		return AllocationOf(v, 100_000)
	}
	for name, c := range map[string]struct {
		change func(*messages.ModelView)
		holds  func(*messages.Allocation) bool
	}{
		"held for its minimum": {func(*messages.ModelView) {}, func(a *messages.Allocation) bool { return a.HeldMs == 60_000 && !a.Young && !a.Pinned }},
		"held for less":        {func(v *messages.ModelView) { v.ReadyMs++ }, func(a *messages.Allocation) bool { return a.Young }},
		"declared as pinned":   {func(v *messages.ModelView) { v.Spec.Pinned = true }, func(a *messages.Allocation) bool { return a.Pinned && a.PinnedBy == "its declaration" }},
		"pinned for good":      {func(v *messages.ModelView) { v.PinnedBy = "ops" }, func(a *messages.Allocation) bool { return a.Pinned && a.PinnedBy == "ops" }},
		"pinned until later":   {func(v *messages.ModelView) { v.PinnedBy, v.PinnedUntilMs = "ops", 100_001 }, func(a *messages.Allocation) bool { return a.Pinned && a.PinnedUntilMs == 100_001 }},
		"pinned until now":     {func(v *messages.ModelView) { v.PinnedBy, v.PinnedUntilMs = "ops", 100_000 }, func(a *messages.Allocation) bool { return !a.Pinned && a.PinnedBy == "" }},
		"measured":             {func(v *messages.ModelView) { v.MeasuredBytes = 5 }, func(a *messages.Allocation) bool { return a.Bytes() == 5 }},
		"measured, on two devices": {func(v *messages.ModelView) {
			v.MeasuredBytes = 9
			v.Placement.Shares = append(v.Placement.Shares, &messages.Share{Bytes: 4})
		}, func(a *messages.Allocation) bool { return a.Bytes() == 8 }},
		"requests wait at it": {func(v *messages.ModelView) { v.Queued = 1 }, func(a *messages.Allocation) bool { return useOf(a, 0) == busy }},
		"it seeks a place": {func(v *messages.ModelView) {
			v.Placement, v.Phase, v.WantedMs = nil, messages.ModelView_placing, 70_000
		},
			func(a *messages.Allocation) bool {
				return a.State == messages.Allocation_seeking && a.WaitedMs == 30_000
			}},
	} {
		if a := view(c.change); !c.holds(a) {
			t.Errorf("%s: %v", name, a)
		}
	}
}

// Room that is kept for another holder is avoided only while it is kept, and only where the claim would eat it.
func TestHintsSteerWhileTheyHold(t *testing.T) {
	for name, c := range map[string]struct {
		hint *messages.PlacementHinted
		want string
	}{
		"none":                              {nil, "gpu/h/g0"},
		"for another, without room for two": {&messages.PlacementHinted{Holder: "model/h/other", Gpu: "gpu/h/g0", Bytes: 9, UntilMs: 1 << 50}, "gpu/h/g1"},
		"for another, with room for two":    {&messages.PlacementHinted{Holder: "model/h/other", Gpu: "gpu/h/g0", Bytes: 8, UntilMs: 1 << 50}, "gpu/h/g0"},
		"for another, and over":             {&messages.PlacementHinted{Holder: "model/h/other", Gpu: "gpu/h/g0", Bytes: 9, UntilMs: entitytest.Epoch.Add(time.Second).UnixMilli()}, "gpu/h/g0"},
		"for itself":                        {&messages.PlacementHinted{Holder: "model/h/m", Gpu: "gpu/h/g1", Bytes: 9, UntilMs: 1 << 50}, "gpu/h/g1"},
		"for itself, and over":              {&messages.PlacementHinted{Holder: "model/h/m", Gpu: "gpu/h/g1", Bytes: 9, UntilMs: entitytest.Epoch.Add(time.Second).UnixMilli()}, "gpu/h/g0"},
	} {
		m := arbiterWith(0)
		if c.hint != nil {
			m.Happen(c.hint)
		}
		m.Wait(time.Minute)
		if p := decide(t, m, seen(gpus(10, 0, 0)), request("model/h/m", 2)).Placement; p.Gpu() != c.want {
			t.Errorf("a hint %s: placed on %s, want %s", name, p.Gpu(), c.want)
		}
	}
}

func TestHintsAreBounded(t *testing.T) {
	m := arbiterWith(0)
	small := gpus(10, 10, 0)
	small[1].LimitBytes = 4
	m.Readings = seen(small, onGPU(0, "pinned", 10, func(a *messages.Allocation) { a.Pinned = true }))
	hint := func(n int) (messages.Reply, error) {
		return m.Do(&messages.HintPlacement{Holder: fmt.Sprintf("model/h/m%d", n), WithinSeconds: 3600, Needs: []*messages.Need{{Bytes: 8}}})
	}
	for n := range mostHints {
		if r, err := hint(n); err != nil || r.Answer.(*messages.HintReply).Gpu != "gpu/h/g0" {
			t.Fatalf("hint %d: %v %v; only g0 is ever large enough", n, r.Answer, err)
		}
	}
	if _, err := hint(mostHints); messages.CodeOf(err) != messages.Unavailable {
		t.Errorf("one more: %v", err)
	}
	if _, err := m.Do(&messages.HintPlacement{Holder: "model/h/m0", WithinSeconds: 9, Needs: []*messages.Need{{Bytes: 8}}, Owner: fmt.Sprintf("%257d", 0)}); messages.CodeOf(err) != messages.InvalidArgument {
		t.Errorf("an owner of 257 bytes: %v", err)
	}
	if _, err := hint(0); err != nil {
		t.Errorf("one that is kept already: %v", err)
	}
}

// A plan goes on with its own holder's placement, and ends when a holder that is still to move is a victim.
func TestAPlanFollowsItsHolders(t *testing.T) {
	placed := func(holder string, victims ...string) proto.Message {
		return &messages.PlacementDecided{Placement: &messages.Placement{Id: "p", Holder: holder, Victims: victims}}
	}
	for name, c := range map[string]struct {
		event proto.Message
		next  int // -1 = the plan is over
	}{
		"another is placed":              {placed("model/h/x"), 0},
		"another is placed for others":   {placed("model/h/x", "model/h/y"), 0},
		"its holder is placed":           {placed("model/h/a"), 1},
		"its next holder is placed":      {placed("model/h/b"), 0},
		"its next holder is a victim":    {placed("model/h/x", "model/h/y", "model/h/b"), -1},
		"its holder leaves for pressure": {&messages.PressureRelieved{Victims: []*messages.Victim{{Holder: "model/h/a"}}}, -1},
	} {
		m := arbiterWith(0)
		m.Happen(&messages.DefragDecided{Id: "d", Moves: []*messages.Move{{Holder: "model/h/a", To: "gpu/h/g1"}, {Holder: "model/h/b", To: "gpu/h/g2"}}})
		for _, late := range []proto.Message{&messages.ReportMoveLeft{Id: "c", Holder: "model/h/a"}, &messages.EndDefrag{Id: "c"}} {
			if r, err := m.Do(late); err != nil || len(r.Events) > 0 {
				t.Errorf("what is told of an older plan changes this one: %v %v", r.Events, err)
			}
		}
		m.Happen(c.event)
		if next := -1; m.State.Moving == nil && c.next != next || m.State.Moving != nil && m.State.Moving.Next != c.next {
			t.Errorf("%s: %+v, want move %d", name, m.State.Moving, c.next)
		}
	}
}

// Moves spare an eviction once for a claim; not for one that is overdue or split.
func TestMovesAreTriedOnce(t *testing.T) {
	const big = "model/h/big"
	for name, c := range map[string]struct {
		past   []proto.Message
		waited time.Duration
		shards uint32
		moves  bool
	}{
		"a first time":      {shards: 1, moves: true},
		"a second time":     {past: []proto.Message{&messages.PlacementPostponed{Holder: big, Claim: "1"}}, shards: 1},
		"for another claim": {past: []proto.Message{&messages.PlacementPostponed{Holder: big, Claim: "0"}}, shards: 1, moves: true},
		"overdue":           {waited: time.Minute, shards: 1},
		"split":             {shards: 2},
	} {
		m := entitytest.Drive(Kind(Rules{Defrag: "auto"}, nil, nil), messages.ArbiterActor())
		m.Happen(c.past...)
		claim := request(big, 9*uint64(c.shards))
		claim.Claim.Needs[0].Shards = c.shards
		r := decide(t, m, seen(gpus(10, 4, 5, 5, 5), onGPU(0, "a", 4), onGPU(1, "b", 5), onGPU(2, "c", 5), onGPU(3, "d", 5), sought(big, c.waited)), claim)
		if (m.State.Moving != nil) != c.moves || (r.Placement == nil) != c.moves {
			t.Errorf("%s: %v, %+v", name, r, m.State.Moving)
		}
	}
}

func TestWhatAPlanMayMove(t *testing.T) {
	for name, change := range map[string]func(*State, []*messages.GpuView, []*messages.Allocation){
		"":               func(*State, []*messages.GpuView, []*messages.Allocation) {},
		"no lost device": func(_ *State, l []*messages.GpuView, _ []*messages.Allocation) { l[1].Lost = true },
		"no dormant model": func(_ *State, _ []*messages.GpuView, a []*messages.Allocation) {
			a[0].State = messages.Allocation_dormant
		},
		"no promised room": func(s *State, l []*messages.GpuView, _ []*messages.Allocation) {
			s.Open["o"] = Open{Step: Decided, Placement: &messages.Placement{Shares: []*messages.Share{{Gpu: l[1].Id, Bytes: 1}}}}
		},
		"no model on its way out": func(s *State, _ []*messages.GpuView, a []*messages.Allocation) {
			s.Open["o"] = Open{Step: Evicting, Placement: &messages.Placement{Victims: []string{a[0].Holder}}}
		},
		"no device whose memory others took": func(_ *State, l []*messages.GpuView, _ []*messages.Allocation) {
			l[0].ReservedBytes, l[0].ForeignBytes = 10, 2
		},
	} {
		s := New(messages.ArbiterActor())
		ledgers, holders := gpus(10, 10, 6, 6), []*messages.Allocation{onGPU(0, "x", 4), onGPU(0, "y", 4)}
		change(&s, ledgers, holders)
		q := questionOf(s, &messages.RequestPlacement{}, seen(ledgers, holders...), 0)
		if moves, ok := s.layoutOf(q).plan(8); ok != (name == "") {
			t.Errorf("%s: %v %t", name, moves, ok)
		}
	}
}

// A lease belongs to its placement whichever share it is, and a reservation names every share's epoch.
func TestEveryShareCounts(t *testing.T) {
	m := arbiterWith(0)
	m.Happen(&messages.PlacementDecided{Placement: splitPlacement()})
	for lease, want := range map[string]bool{"p": true, "p.1": true, "p.2": true, "p.3": false} {
		if r, err := m.Do(&messages.QueryHolding{Lease: lease}); err != nil || r.Answer.(*messages.HoldingReply).Holds != want {
			t.Errorf("%s: %v %v", lease, r.Answer, err)
		}
	}
	if r, err := m.Do(&messages.ReportReserved{Id: "p", Epochs: []uint64{7, 8}}); err != nil || len(r.Events) > 0 {
		t.Errorf("two epochs for three shares: %v %v", r.Events, err)
	}
	if _, err := m.Do(&messages.ReportReserved{Id: "p", Epochs: []uint64{7, 8, 9}}); err != nil {
		t.Fatal(err)
	}
	for i, s := range m.State.Open["p"].Placement.Shares {
		if s.Epoch != uint64(7+i) {
			t.Errorf("share %d has epoch %d", i, s.Epoch)
		}
	}
}

// answers is a door where everybody answers with a code.
type answers struct{ code messages.Code }

func (answers) Tell(context.Context, messages.ActorID, proto.Message) {}

func (a answers) Ask(_ context.Context, to messages.ActorID, _ proto.Message) (messages.Reply, error) {
	return messages.Reply{}, messages.NewError(a.code, to.String(), "no").WithRetry(time.Second)
}

// What a refusal of an owner or a holder makes of the work; nil = it stays owed.
func TestRefusalsEndTheWork(t *testing.T) {
	move := moveOut{ID: "d", Move: &messages.Move{Holder: "model/h/a", To: "gpu/h/g1"}}
	for _, c := range []struct {
		code   messages.Code
		effect interface{ Key() string }
		want   proto.Message
	}{
		{messages.FailedPrecondition, move, &messages.EndDefrag{Id: "d", Reason: "no"}},
		{messages.ModelNotFound, move, &messages.EndDefrag{Id: "d", Reason: "no"}},
		{messages.Unavailable, move, nil},
		{messages.NotFound, release{splitPlacement()}, &messages.ClosePlacement{Id: "p", Reason: "abandoned"}}, // a device that isn't there holds no lease
		{messages.Unavailable, release{splitPlacement()}, nil},
		{messages.Unavailable, release{&messages.Placement{Id: "relief/3", Shares: []*messages.Share{{Gpu: "gpu/h/g0"}}}}, &messages.ClosePlacement{Id: "relief/3", Reason: "abandoned"}},
		{messages.ModelNotFound, handOn{splitPlacement()}, &messages.AbandonPlacement{Id: "p", Reason: "no"}},
		{messages.Unavailable, handOn{splitPlacement()}, nil},
		{messages.ModelNotFound, evict{ID: "p", Victim: "model/h/a", For: "model/h/m"}, &messages.ReportPreempted{Id: "p", Holder: "model/h/a"}},
		{messages.FailedPrecondition, evict{ID: "p", Victim: "model/h/a", For: "model/h/m"}, &messages.AbandonPlacement{Id: "p", Reason: "no"}},
		{messages.Unavailable, evict{ID: "p", Victim: "model/h/a", For: "model/h/m"}, nil},
	} {
		got, err := ports{answers{c.code}}.perform(t.Context(), c.effect)
		if (err == nil) != (c.want != nil) || c.want != nil && !proto.Equal(got, c.want) {
			t.Errorf("%s after %v: %v, %v", c.effect.Key(), c.code, got, err)
		}
	}
}

// Requests for one name wait on several hosts, which report them in any order. One of two holders is first, whoever asks: else each waits for the other.
func TestANameThatWaitsOnSeveralHostsHasOnePlaceInLine(t *testing.T) {
	there := []*messages.Allocation{sought("model/*/many", 90*time.Second), sought("model/h/one", 80*time.Second), sought("model/*/many", 70*time.Second)}
	for range len(there) {
		there = append(there[1:], there[0])
		readings := seen(gpus(24, 4), there...)
		if p := decide(t, arbiterWith(0), readings, request("model/*/many", 10)).Placement; p == nil {
			t.Errorf("%v: the name has waited longest and waits", there)
		}
		if p := decide(t, arbiterWith(0), readings, request("model/h/one", 10)).Placement; p != nil {
			t.Errorf("%v: it goes before the name that has waited longer", there)
		}
	}
}
