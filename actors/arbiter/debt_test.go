//go:build languagepending

package arbiter

import (
	"testing"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

// The simulator's finds. Each world here is small enough to see why the decision was wrong.

// loads is a resident that loads on a device; idle one that has been idle.
func loads(model string) *messages.Allocation {
	return &messages.Allocation{Model: model, Gpu: "gpu/h/g0", Bytes: 1, Phase: messages.ModelView_loading}
}

func idle(model string, bytes uint64) *messages.Allocation {
	return &messages.Allocation{Model: model, Gpu: "gpu/h/g0", Bytes: bytes, Phase: messages.ModelView_ready, IdleMs: 1000}
}

func card(limit, reserved, strangers uint64) *messages.GpuView {
	return &messages.GpuView{Id: "gpu/h/g0", Kind: "cuda", LimitBytes: limit, ReservedBytes: reserved, ForeignBytes: strangers}
}

func decide(t *testing.T, m *entitytest.Machine[State], c *messages.RequestPlacement) *messages.PlacementReply {
	t.Helper()
	v, err := m.Do(c)
	if err != nil {
		t.Fatal(err)
	}
	return v.Answer(m.Sequence).(*messages.PlacementReply)
}

func arbiterWith(maxLoads int) *entitytest.Machine[State] {
	return entitytest.Drive(Kind(Rules{MaxLoads: maxLoads}, nil, nil), messages.ArbiterActor())
}

func TestStrangersDebtIsPaidBeforeAnythingIsFree(t *testing.T) {
	m := arbiterWith(0)
	r := decide(t, m, &messages.RequestPlacement{Model: "model/h/big", Attempt: 1, NeedBytes: 16, Ledgers: []*messages.GpuView{card(24, 20, 10)},
		Residents: []*messages.Allocation{idle("model/h/a", 8), idle("model/h/b", 12)}})
	if r.Placement != nil {
		t.Errorf("evicts %v for 16 bytes: strangers leave 14 of 24 even when everybody has left", r.Placement.Victims)
	}
	r = decide(t, m, &messages.RequestPlacement{Model: "model/h/mid", Attempt: 1, NeedBytes: 14, Ledgers: []*messages.GpuView{card(24, 20, 10)},
		Residents: []*messages.Allocation{idle("model/h/a", 8), idle("model/h/b", 12)}})
	if len(r.Placement.GetVictims()) != 2 {
		t.Errorf("14 bytes fit when both leave: %v", r)
	}
}

func TestVictimsThatAreBackCountAsLoading(t *testing.T) {
	for name, then := range map[string]func(*entitytest.Machine[State], string){
		"its leaving isn't reported yet": func(*entitytest.Machine[State], string) {},
		"the placement was given up": func(m *entitytest.Machine[State], id string) {
			m.Happen(&messages.PlacementAbandoned{Id: id})
		},
		"the placement is reserved": func(m *entitytest.Machine[State], id string) {
			m.Happen(&messages.VictimPreempted{Id: id, Model: "model/h/a"})
			m.Happen(&messages.PlacementReserved{Id: id})
		},
	} {
		m := arbiterWith(2)
		ledgers := []*messages.GpuView{card(24, 20, 0)}
		first := decide(t, m, &messages.RequestPlacement{Model: "model/h/c", Attempt: 1, NeedBytes: 8, Ledgers: ledgers,
			Residents: []*messages.Allocation{idle("model/h/a", 20)}})
		then(m, first.Placement.Id)
		r := decide(t, m, &messages.RequestPlacement{Model: "model/h/d", Attempt: 1, NeedBytes: 1, Ledgers: ledgers,
			Residents: []*messages.Allocation{loads("model/h/a"), loads("model/h/b")}})
		if r.Placement != nil {
			t.Errorf("%s: a third model may load although two do", name)
		}
	}
}

func TestVictimsThatAreBackArentFreedTwice(t *testing.T) {
	m := arbiterWith(0)
	full := card(24, 24, 0)
	full.Reservations = []*messages.Reservation{{Holder: "model/h/a", Bytes: 20}}
	first := decide(t, m, &messages.RequestPlacement{Model: "model/h/c", Attempt: 1, NeedBytes: 8, Ledgers: []*messages.GpuView{full},
		Residents: []*messages.Allocation{idle("model/h/a", 20)}})
	m.Happen(&messages.PlacementAbandoned{Id: first.Placement.Id})
	r := decide(t, m, &messages.RequestPlacement{Model: "model/h/d", Attempt: 1, NeedBytes: 20, Ledgers: []*messages.GpuView{full},
		Residents: []*messages.Allocation{loads("model/h/a")}})
	if r.Placement != nil {
		t.Error("counts a's memory as free: a was to leave for a placement that nobody wants any more")
	}
}

func TestVictimsLeaveWhatTheLedgerCounts(t *testing.T) {
	m := arbiterWith(0)
	c := card(24, 20, 0)
	c.Reservations = []*messages.Reservation{{Holder: "model/h/a", Bytes: 12}, {Holder: "model/h/x", Bytes: 8}}
	grown := idle("model/h/a", 13) // measured; the ledger hasn't heard of it
	r := decide(t, m, &messages.RequestPlacement{Model: "model/h/d", Attempt: 1, NeedBytes: 17, Ledgers: []*messages.GpuView{c},
		Residents: []*messages.Allocation{grown, loads("model/h/x")}})
	if r.Placement != nil {
		t.Error("takes 17 bytes for free: 4 are, and 12 will be")
	}
	shrunk := card(24, 19, 0)
	shrunk.Reservations = []*messages.Reservation{{Holder: "model/h/a", Bytes: 12, MeasuredBytes: 11}, {Holder: "model/h/x", Bytes: 8}}
	decide(t, m, &messages.RequestPlacement{Model: "model/h/b", Attempt: 1, NeedBytes: 10, Ledgers: []*messages.GpuView{shrunk},
		Residents: []*messages.Allocation{idle("model/h/a", 11)}})
	r = decide(t, m, &messages.RequestPlacement{Model: "model/h/e", Attempt: 1, NeedBytes: 7, Ledgers: []*messages.GpuView{shrunk}})
	if r.Placement != nil {
		t.Error("takes 7 bytes for free: 24 - 8 of x - 10 promised to b are 6")
	}
}
