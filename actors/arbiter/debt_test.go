package arbiter

import (
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

// Faults that the simulator found, each in the smallest world that shows it.

// settled is an allocation that has its place on one device.
func settled(holder, gpu string, bytes uint64) *messages.Allocation {
	return &messages.Allocation{Holder: holder, State: messages.Allocation_settled, Shares: []*messages.Share{{Gpu: gpu, Bytes: bytes}}}
}

// loads is a holder that starts on the device g0; idle one that has been idle there.
func loads(holder string) *messages.Allocation {
	a := settled(holder, "gpu/h/g0", 1)
	a.State = messages.Allocation_starting
	return a
}

func idle(holder string, bytes uint64) *messages.Allocation {
	a := settled(holder, "gpu/h/g0", bytes)
	a.IdleMs = 1000
	return a
}

func card(limit, reserved, strangers uint64) *messages.GpuView {
	return &messages.GpuView{Id: "gpu/h/g0", Host: "h", Kind: "cuda", LimitBytes: limit, ReservedBytes: reserved, ForeignBytes: strangers}
}

// request asks for memory on any host where the holder may be.
func request(holder string, bytes uint64) *messages.RequestPlacement {
	return &messages.RequestPlacement{Holder: holder, Preemptible: true, Claim: &messages.Claim{Id: "1", Needs: []*messages.Need{{Bytes: bytes}}}}
}

func seen(ledgers []*messages.GpuView, allocations ...*messages.Allocation) *messages.SchedulerReadings {
	return &messages.SchedulerReadings{Ledgers: ledgers, Allocations: allocations}
}

func decide(t *testing.T, m *entitytest.Bench[State], readings, command proto.Message) *messages.PlacementReply {
	t.Helper()
	m.Readings = readings
	r, err := m.Do(command)
	if err != nil {
		t.Fatal(err)
	}
	return r.Answer.(*messages.PlacementReply)
}

func arbiterWith(maxLoads int) *entitytest.Bench[State] {
	return entitytest.Drive(Kind(Rules{MaxLoads: maxLoads}, nil, nil), messages.ArbiterActor())
}

func TestForeignUseOverTheLimitCountsBeforeFreeMemory(t *testing.T) {
	m := arbiterWith(0)
	world := seen([]*messages.GpuView{card(24, 20, 10)}, idle("model/h/a", 8), idle("model/h/b", 12))
	if r := decide(t, m, world, request("model/h/big", 16)); r.Placement != nil {
		t.Errorf("evicts %v for 16 bytes: foreign use leaves 14 of 24 even on an empty device", r.Placement.Victims)
	}
	if r := decide(t, m, world, request("model/h/mid", 14)); len(r.Placement.GetVictims()) != 2 {
		t.Errorf("14 bytes fit when both leave: %v", r)
	}
}

func TestVictimsThatAreBackCountAsLoading(t *testing.T) {
	for name, then := range map[string]func(*entitytest.Bench[State], string){
		"its leaving isn't reported yet": func(*entitytest.Bench[State], string) {},
		"the placement was given up": func(m *entitytest.Bench[State], id string) {
			m.Happen(&messages.PlacementAbandoned{Id: id})
		},
		"the placement is reserved": func(m *entitytest.Bench[State], id string) {
			m.Happen(&messages.VictimPreempted{Id: id, Holder: "model/h/a"})
			m.Happen(&messages.PlacementReserved{Id: id})
		},
	} {
		m := arbiterWith(2)
		ledgers := []*messages.GpuView{card(24, 20, 0)}
		first := decide(t, m, seen(ledgers, idle("model/h/a", 20)), request("model/h/c", 8))
		then(m, first.Placement.Id)
		r := decide(t, m, seen(ledgers, loads("model/h/a"), loads("model/h/b")), request("model/h/d", 1))
		if r.Placement != nil {
			t.Errorf("%s: a third model may load although two do", name)
		}
	}
}

func TestVictimsThatAreBackArentFreedTwice(t *testing.T) {
	m := arbiterWith(0)
	full := card(24, 24, 0)
	full.Reservations = []*messages.Reservation{{Holder: "model/h/a", Bytes: 20}}
	ledgers := []*messages.GpuView{full}
	first := decide(t, m, seen(ledgers, idle("model/h/a", 20)), request("model/h/c", 8))
	m.Happen(&messages.PlacementAbandoned{Id: first.Placement.Id})
	if r := decide(t, m, seen(ledgers, loads("model/h/a")), request("model/h/d", 20)); r.Placement != nil {
		t.Error("counts a's memory as free: the placement for which a was to leave isn't wanted any more")
	}
}

func TestVictimsLeaveWhatTheLedgerCounts(t *testing.T) {
	m := arbiterWith(0)
	c := card(24, 20, 0)
	c.Reservations = []*messages.Reservation{{Holder: "model/h/a", Bytes: 12}, {Holder: "model/h/x", Bytes: 8}}
	grown := idle("model/h/a", 13) // measured; the ledger hasn't heard of it
	r := decide(t, m, seen([]*messages.GpuView{c}, grown, loads("model/h/x")), request("model/h/d", 17))
	if r.Placement != nil {
		t.Error("takes 17 bytes for free: 4 are, and 12 will be")
	}
	shrunk := card(24, 19, 0)
	shrunk.Reservations = []*messages.Reservation{{Holder: "model/h/a", Bytes: 12, MeasuredBytes: 11}, {Holder: "model/h/x", Bytes: 8}}
	ledgers := []*messages.GpuView{shrunk}
	decide(t, m, seen(ledgers, idle("model/h/a", 11)), request("model/h/b", 10))
	r = decide(t, m, seen(ledgers), request("model/h/e", 7))
	if r.Placement != nil {
		t.Error("takes 7 bytes for free: 24 - 8 of x - 10 promised to b are 6")
	}
}

// The largest need is named in full: rounding it up to MiB must not wrap.
func TestARefusalNamesTheWholeNeed(t *testing.T) {
	for need, want := range map[uint64]string{1: "required 1MB,", messages.MiB: "required 1MB,", messages.MiB + 1: "required 2MB,", math.MaxUint64: "required 17592186044416MB,"} {
		m := arbiterWith(0)
		m.Readings = seen([]*messages.GpuView{card(0, 0, 0)})
		if _, err := m.Do(request("model/h/a", need)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d bytes: %v", need, err)
		}
	}
}

// A waiter that was first told to wait for the loads of others holds up no host where it can't be placed.
func TestAWaiterForLoadsHoldsUpItsOwnHostsOnly(t *testing.T) {
	m := arbiterWith(1)
	here, there := card(10, 8, 0), &messages.GpuView{Id: "gpu/pc2/g0", Host: "pc2", Kind: "cuda", LimitBytes: 10, ReservedBytes: 10}
	idle := settled("model/h/a", here.Id, 8)
	idle.IdleMs = 60_000
	far := &messages.Allocation{Holder: "model/*/far", State: messages.Allocation_seeking, WaitedMs: 29_000}
	waits := request(far.Holder, 6)
	waits.Claim.Needs[0].Host = "pc2"
	if r := decide(t, m, seen([]*messages.GpuView{here, there}, idle, far, loads("model/h/other")), waits); !strings.Contains(r.WaitsFor, "load already") {
		t.Fatalf("it waits for %q", r.WaitsFor)
	}
	if r := decide(t, m, seen([]*messages.GpuView{here, there}, idle, far), request("model/h/here", 6)); !slices.Equal(r.Placement.GetVictims(), []string{"model/h/a"}) {
		t.Errorf("placed: %v", r)
	}
}
