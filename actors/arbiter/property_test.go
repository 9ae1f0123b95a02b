package arbiter

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"modelops/messages"
)

// owners are what the arbiter asks: ledgers that hold leases, models that take placements. They are as fickle as owners may be.
type owners struct {
	leases map[string]bool // granted and neither handed over nor released
	handed map[string]bool
}

// answer does one piece of owed work and reports it, or leaves it owed (nil).
func (o *owners) answer(t *rapid.T, s State, key string, calm bool) proto.Message {
	for id, open := range s.Open {
		lost := !calm && rapid.IntRange(0, 3).Draw(t, "answer lost") == 0 // done, but nobody hears of it
		report := func(m proto.Message) proto.Message {
			if lost {
				return nil
			}
			return m
		}
		for _, v := range open.leaving() {
			if key != (evict{ID: id, Victim: v}).Key() {
				continue
			}
			if rapid.IntRange(0, 5).Draw(t, "pinned") == 0 {
				return report(&messages.AbandonPlacement{Id: id, Reason: "pinned by now"})
			}
			return report(&messages.ReportEvicted{Id: id, Model: v})
		}
		lease := open.Placement.Lease
		switch key {
		case reserve{open.Placement}.Key():
			if !o.leases[lease] && rapid.IntRange(0, 2).Draw(t, "refused") == 0 {
				return report(&messages.ReportReservationRefused{Id: id, Error: &messages.ErrorBody{Code: "GPU_UNAVAILABLE"}})
			}
			o.leases[lease] = true
			return report(&messages.ReportReserved{Id: id, Epoch: 7})
		case handOn{open.Placement}.Key():
			if !o.handed[lease] && rapid.IntRange(0, 2).Draw(t, "not wanted") == 0 {
				return report(&messages.AbandonPlacement{Id: id, Reason: "not wanted"})
			}
			delete(o.leases, lease)
			o.handed[lease] = true
			return report(&messages.ClosePlacement{Id: id, Reason: "handed over"})
		case release{open.Placement}.Key():
			delete(o.leases, lease)
			return report(&messages.ClosePlacement{Id: id, Reason: "abandoned"})
		}
	}
	t.Fatalf("%s is owed by nothing that is open", key)
	return nil
}

func ask(t *rapid.T) *messages.PlaceModel {
	c := &messages.PlaceModel{Model: fmt.Sprintf("model/main_pc/m%d", rapid.IntRange(0, 3).Draw(t, "model")),
		Attempt: rapid.Uint64Range(1, 3).Draw(t, "attempt"), NeedBytes: rapid.Uint64Range(0, 10).Draw(t, "need") * messages.GiB}
	for d := range rapid.IntRange(0, 3).Draw(t, "devices") {
		gpu := fmt.Sprintf("gpu/main_pc/gpu%d", d)
		l := &messages.GpuView{Id: gpu, LimitBytes: 8 * messages.GiB, ReservedBytes: rapid.Uint64Range(0, 8).Draw(t, "reserved") * messages.GiB,
			Lost: rapid.IntRange(0, 5).Draw(t, "lost") == 0}
		c.Ledgers = append(c.Ledgers, l)
		c.Residents = append(c.Residents, &messages.Resident{Model: fmt.Sprintf("model/main_pc/r%d", d), Gpu: gpu, Phase: "ready", Bytes: l.ReservedBytes,
			Active: rapid.Uint32Range(0, 1).Draw(t, "active"), Pinned: rapid.IntRange(0, 3).Draw(t, "pinned") == 0})
	}
	return c
}

// Whatever owners answer, and whichever answers are lost: once they answer again every open placement comes to its end, and no lease
// is lost on the way: each that was granted is handed over or released.
func TestEveryPlacementEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := fresh()
		o := &owners{leases: map[string]bool{}, handed: map[string]bool{}}
		step := func(calm bool) {
			if keys := m.Owed(); len(keys) > 0 {
				if c := o.answer(t, m.State, rapid.SampledFrom(keys).Draw(t, "work"), calm); c != nil {
					if _, err := m.Do(c); err != nil {
						t.Fatalf("%T was refused: %v", c, err)
					}
					if again, _ := m.Do(c); len(again.Events) > 0 {
						t.Fatalf("%T told twice happened twice: %v", c, again.Events)
					}
				}
			}
		}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0, 1:
				step(false)
			case 2:
				checkChoice(t, m.State, ask(t))
				c := ask(t)
				if v, err := m.Do(c); err == nil && v.Answer == nil {
					t.Fatal("a placement without an answer")
				}
			case 3:
				c := ask(t)
				_, _ = m.Do(&messages.RelievePressure{Gpu: "gpu/main_pc/gpu0", LevelBytes: messages.GiB, Ledgers: c.Ledgers, Residents: c.Residents})
			}
		}
		for range 200 {
			step(true)
		}
		if len(m.State.Open) > 0 || len(m.Owed()) > 0 || len(o.leases) > 0 {
			t.Fatalf("open %v, owed %v, leases lost %v", m.State.Open, m.Owed(), o.leases)
		}
		if err := m.Replayed(rapid.IntRange(0, len(m.Recorded)).Draw(t, "snapshot")); err != nil {
			t.Fatal(err)
		}
	})
}

// checkChoice: a refusal comes only when no device could ever hold it, and then without a time to retry; the chosen device stands and
// has room once its victims are gone, none of whom is pinned or busy.
func checkChoice(t *rapid.T, s State, c *messages.PlaceModel) {
	q := questionOf(s, c)
	candidates := s.weigh(policies["first_fit"], q)
	chosen := choose(candidates)
	if chosen == nil {
		if err := never(q, candidates); !possible(candidates) && len(candidates) > 0 && err.Retry != 0 {
			t.Fatalf("never fits, and yet to be retried after %s", err.Retry)
		}
		return
	}
	free := chosen.LimitBytes - min(chosen.ReservedBytes+chosen.ForeignBytes, chosen.LimitBytes)
	for _, v := range chosen.Victims {
		free += v.Bytes
		for _, r := range c.Residents {
			if r.Model == v.Model && (r.Pinned || r.Active > 0) {
				t.Fatalf("%s is to leave although it is pinned or busy", v.Model)
			}
		}
	}
	for _, l := range c.Ledgers {
		if l.Id == chosen.Gpu && l.Lost {
			t.Fatalf("%s is lost and was chosen", l.Id)
		}
	}
	if chosen.NeedBytes > free {
		t.Fatalf("needs %d, free %d after victims %v", chosen.NeedBytes, free, chosen.Victims)
	}
}

func TestFirstFit(t *testing.T) {
	gib := messages.GiB
	view := func(name string, limit, reserved uint64) *messages.GpuView {
		return &messages.GpuView{Id: "gpu/main_pc/" + name, LimitBytes: limit * gib, ReservedBytes: reserved * gib}
	}
	lost := view("a", 8, 0)
	lost.Lost = true
	for name, c := range map[string]struct {
		need    uint64
		ledgers []*messages.GpuView
		want    string
	}{
		"by name, not by order":   {2, []*messages.GpuView{view("b", 8, 0), view("a", 8, 0)}, "gpu/main_pc/a"},
		"the first that has room": {4, []*messages.GpuView{view("a", 8, 5), view("b", 8, 4)}, "gpu/main_pc/b"},
		"to the last byte":        {8, []*messages.GpuView{view("a", 8, 0)}, "gpu/main_pc/a"},
		"not a lost one":          {1, []*messages.GpuView{lost, view("b", 8, 0)}, "gpu/main_pc/b"},
		"nothing needs no room":   {0, []*messages.GpuView{view("a", 8, 8)}, "gpu/main_pc/a"},
		"none has room":           {4, []*messages.GpuView{view("a", 8, 5)}, ""},
		"more is used than may":   {1, []*messages.GpuView{view("a", 8, 9)}, ""},
	} {
		s := New(messages.ArbiterActor())
		got := choose(s.weigh(policies["first_fit"], questionOf(s, &messages.PlaceModel{Model: "model/main_pc/x", NeedBytes: c.need * gib, Ledgers: c.ledgers})))
		if got.GetGpu() != c.want {
			t.Errorf("%s: chose %q, want %q", name, got.GetGpu(), c.want)
		}
	}
}
