//go:build languagepending

package arbiter

import (
	"fmt"
	"slices"
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
			return report(&messages.ReportPreempted{Id: id, Model: v})
		}
		lease, parts := open.Placement.Lease, open.Placement.Parts()
		switch key {
		case reserve{open.Placement}.Key():
			for i, part := range parts {
				if !o.leases[part.Lease] && rapid.IntRange(0, 2).Draw(t, "refused") == 0 {
					if !calm && i > 0 && rapid.IntRange(0, 2).Draw(t, "crash before the others go home") == 0 {
						return nil
					}
					for _, other := range parts {
						delete(o.leases, other.Lease)
					}
					return report(&messages.ReportReservationRefused{Id: id, Error: &messages.ErrorBody{Code: "GPU_UNAVAILABLE"}})
				}
				o.leases[part.Lease] = true
				if !calm && rapid.IntRange(0, 5).Draw(t, "crash between reservations") == 0 {
					return nil
				}
			}
			return report(&messages.ReportReserved{Id: id, Epoch: 7})
		case handOn{open.Placement}.Key():
			if !o.handed[lease] && rapid.IntRange(0, 2).Draw(t, "not wanted") == 0 {
				return report(&messages.AbandonPlacement{Id: id, Reason: "not wanted"})
			}
			for _, part := range parts {
				delete(o.leases, part.Lease)
			}
			o.handed[lease] = true
			return report(&messages.ClosePlacement{Id: id, Reason: "handed over"})
		case release{open.Placement}.Key():
			for _, part := range parts {
				delete(o.leases, part.Lease)
			}
			return report(&messages.ClosePlacement{Id: id, Reason: "abandoned"})
		}
	}
	t.Fatalf("%s is owed by nothing that is open", key)
	return nil
}

func ask(t *rapid.T) *messages.RequestPlacement {
	c := &messages.RequestPlacement{Model: fmt.Sprintf("model/main_pc/m%d", rapid.IntRange(0, 3).Draw(t, "model")),
		Attempt: rapid.Uint64Range(1, 3).Draw(t, "attempt"), NeedBytes: rapid.Uint64Range(0, 10).Draw(t, "need") * messages.GiB,
		Shards: rapid.Uint32Range(0, 3).Draw(t, "shards")}
	for d := range rapid.IntRange(0, 3).Draw(t, "devices") {
		gpu := fmt.Sprintf("gpu/main_pc/gpu%d", d)
		l := &messages.GpuView{Id: gpu, LimitBytes: 8 * messages.GiB, ReservedBytes: rapid.Uint64Range(0, 8).Draw(t, "reserved") * messages.GiB,
			Lost: rapid.IntRange(0, 5).Draw(t, "lost") == 0}
		c.Ledgers = append(c.Ledgers, l)
		c.Residents = append(c.Residents, &messages.Allocation{Model: fmt.Sprintf("model/main_pc/r%d", d), Gpu: gpu, Phase: messages.ModelView_ready, Bytes: l.ReservedBytes,
			Active: rapid.Uint32Range(0, 1).Draw(t, "active"), Pinned: rapid.IntRange(0, 3).Draw(t, "pinned") == 0})
	}
	if len(c.Ledgers) > 1 && rapid.Bool().Draw(t, "a split one") { // it shares the first two devices with others
		half := messages.GiB / 2
		split := &messages.Allocation{Model: "model/main_pc/s", Phase: messages.ModelView_ready, Bytes: 2 * half, Gpu: c.Ledgers[0].Id}
		for _, l := range c.Ledgers[:2] {
			l.ReservedBytes += half
			split.Shares = append(split.Shares, &messages.Share{Gpu: l.Id, Bytes: half})
		}
		c.Residents = append(c.Residents, split)
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

// checkChoice: a refusal comes only when no devices could ever hold it, and then without a time to retry; the chosen devices stand, are as
// many as are needed, on one host, and have room once the victims are gone, none of whom is pinned or busy, or could have stayed.
func checkChoice(t *rapid.T, s State, c *messages.RequestPlacement) {
	q := questionOf(s, c, 0)
	candidates := s.weigh(policies["first_fit"], q)
	chosen := choose(candidates, q.shards)
	if chosen == nil {
		if err := never(q, candidates); !possible(candidates, q.shards) && len(candidates) > 0 && err.Retry != 0 {
			t.Fatalf("never fits, and yet to be retried after %s", err.Retry)
		}
		return
	}
	p := q.placementOn(chosen, c, "p")
	for _, v := range p.Victims {
		for _, r := range c.Residents {
			if r.Model == v && (r.Pinned || r.Active > 0) {
				t.Fatalf("%s is to leave although it is pinned or busy", v)
			}
		}
	}
	for i, v := range p.Victims {
		if q.roomWithout(chosen, slices.Delete(slices.Clone(p.Victims), i, i+1)) {
			t.Fatalf("%s has to leave and needn't: %v", v, p)
		}
	}
	var sum uint64
	seen := map[string]bool{}
	for i, part := range p.Parts() {
		sum += part.Bytes
		if seen[part.Gpu] || seen[part.Lease] || hostOf(part.Gpu) != hostOf(p.Gpu) || part.Bytes != q.need {
			t.Fatalf("share %d is no part of its own: %v", i, p)
		}
		seen[part.Gpu], seen[part.Lease] = true, true
		l := c.Ledgers[slices.IndexFunc(c.Ledgers, func(l *messages.GpuView) bool { return l.Id == part.Gpu })]
		if l.Lost {
			t.Fatalf("%s is lost and was chosen", l.Id)
		}
		held := part.Bytes + l.ReservedBytes - freed(l, s.leaving()) + s.promised(l.Id)
		for _, r := range q.residents {
			if slices.Contains(p.Victims, r.Model) {
				bytes, _ := r.On(l.Id)
				held -= min(bytes, held)
			}
		}
		if held > l.LimitBytes {
			t.Fatalf("%s is over its limit: %d of %d with %v", l.Id, held, l.LimitBytes, p)
		}
	}
	if len(p.Parts()) != q.shards || sum != p.Bytes || p.Bytes < c.NeedBytes {
		t.Fatalf("%d bytes over %d devices became %v", c.NeedBytes, q.shards, p)
	}
}

// The set of devices is the cheapest that there is: no other set of one host's devices that would do costs less.
func TestTheCheapestDevicesAreChosen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var cs []*messages.Candidate
		for i := range rapid.IntRange(0, 7).Draw(t, "devices") {
			c := &messages.Candidate{Gpu: fmt.Sprintf("gpu/host%d/gpu%d", rapid.IntRange(0, 2).Draw(t, "host"), i), Cost: float64(rapid.IntRange(0, 9).Draw(t, "cost"))}
			if rapid.IntRange(0, 3).Draw(t, "refused") == 0 {
				c.Refusal = "full"
			}
			cs = append(cs, c)
		}
		n := rapid.IntRange(1, 4).Draw(t, "shards")
		best := -1.0
		for set := range 1 << len(cs) {
			sum, count, host := 0.0, 0, ""
			for i, c := range cs {
				switch {
				case set&(1<<i) == 0:
				case c.Refusal != "" || host != "" && n > 1 && host != hostOf(c.Gpu):
					count = -100
				default:
					sum, count, host = sum+c.Cost, count+1, hostOf(c.Gpu)
				}
			}
			if count == n && (best < 0 || sum < best) {
				best = sum
			}
		}
		chosen := choose(cs, n)
		if (chosen == nil) != (best < 0) || chosen != nil && (costs(chosen) != best || len(chosen) != n) {
			t.Fatalf("chose %v of %v for %d shards; the cheapest cost %v", chosen, cs, n, best)
		}
	})
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
		got := ""
		for _, x := range choose(s.weigh(policies["first_fit"], questionOf(s, &messages.RequestPlacement{Model: "model/main_pc/x", NeedBytes: c.need * gib, Ledgers: c.ledgers}, 0)), 1) {
			got = x.Gpu
		}
		if got != c.want {
			t.Errorf("%s: chose %q, want %q", name, got, c.want)
		}
	}
}
