package arbiter

import (
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"modelops/messages"
)

// owners are what the arbiter asks: ledgers that hold leases, models that take placements. They answer, refuse or stay silent by chance.
type owners struct {
	leases map[string]bool // granted and neither handed over nor released
	handed map[string]bool
}

// answer does one piece of owed work and reports it, or leaves it owed (nil).
func (o *owners) answer(t *rapid.T, s State, key string, calm bool) proto.Message {
	for id, open := range s.Open {
		lost := !calm && rapid.IntRange(0, 3).Draw(t, "answer lost") == 0 // done, but the answer is lost
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
			return report(&messages.ReportPreempted{Id: id, Holder: v})
		}
		shares := open.Placement.Shares
		switch key {
		case reserve{open.Placement}.Key():
			for i, share := range shares {
				if !o.leases[share.Lease] && rapid.IntRange(0, 2).Draw(t, "refused") == 0 {
					if !calm && i > 0 && rapid.IntRange(0, 2).Draw(t, "crash before the others are released") == 0 {
						return nil
					}
					for _, other := range shares {
						delete(o.leases, other.Lease)
					}
					return report(&messages.ReportReservationRefused{Id: id, Error: &messages.ErrorBody{Code: "GPU_UNAVAILABLE"}})
				}
				o.leases[share.Lease] = true
				if !calm && rapid.IntRange(0, 5).Draw(t, "crash between reservations") == 0 {
					return nil
				}
			}
			return report(&messages.ReportReserved{Id: id, Epochs: slices.Repeat([]uint64{7}, len(shares))})
		case handOn{open.Placement}.Key():
			if !o.handed[id] && rapid.IntRange(0, 2).Draw(t, "not wanted") == 0 {
				return report(&messages.AbandonPlacement{Id: id, Reason: "not wanted"})
			}
			for _, share := range shares {
				delete(o.leases, share.Lease)
			}
			o.handed[id] = true
			return report(&messages.ClosePlacement{Id: id, Reason: "handed over"})
		case unclaimed{id}.Key():
			if rapid.Bool().Draw(t, "taken over") {
				for _, share := range shares {
					delete(o.leases, share.Lease)
				}
				return &messages.ClosePlacement{Id: id, Reason: "taken over"}
			}
			return report(&messages.AbandonPlacement{Id: id, Reason: "it was not taken over"})
		case release{open.Placement}.Key():
			for _, share := range shares {
				delete(o.leases, share.Lease)
			}
			return report(&messages.ClosePlacement{Id: id, Reason: "abandoned"})
		}
	}
	t.Fatalf("%s is owed by nothing that is open", key)
	return nil
}

// world draws ledgers of one or two hosts, and allocations on them.
func world(t *rapid.T) *messages.SchedulerReadings {
	w := &messages.SchedulerReadings{}
	for h := range rapid.IntRange(1, 2).Draw(t, "hosts") {
		host := []string{"main_pc", "pc2"}[h]
		for d := range rapid.IntRange(0, 3).Draw(t, "devices") {
			l := &messages.GpuView{Id: fmt.Sprintf("gpu/%s/gpu%d", host, d), Host: host, Kind: rapid.SampledFrom([]string{"cuda", "simulated"}).Draw(t, "kind"),
				LimitBytes: 8 * messages.GiB, ReservedBytes: rapid.Uint64Range(0, 8).Draw(t, "reserved") * messages.GiB, Lost: rapid.IntRange(0, 5).Draw(t, "lost") == 0}
			w.Ledgers = append(w.Ledgers, l)
			a := settled(fmt.Sprintf("model/%s/r%d", host, d), l.Id, l.ReservedBytes)
			a.Active, a.Pinned = rapid.Uint32Range(0, 1).Draw(t, "active"), rapid.IntRange(0, 3).Draw(t, "pinned") == 0
			w.Allocations = append(w.Allocations, a)
		}
	}
	if len(w.Ledgers) > 1 && w.Ledgers[0].Host == w.Ledgers[1].Host && rapid.Bool().Draw(t, "a split one") { // it shares the first two devices with others
		half := messages.GiB / 2
		split := &messages.Allocation{Holder: "model/" + w.Ledgers[0].Host + "/s", State: messages.Allocation_settled}
		for _, l := range w.Ledgers[:2] {
			l.ReservedBytes += half
			split.Shares = append(split.Shares, &messages.Share{Gpu: l.Id, Bytes: half})
		}
		w.Allocations = append(w.Allocations, split)
	}
	return w
}

// ask draws a request of a model on a host, of a model's name, or of a program; it needs the same on every host, or says what on each.
func ask(t *rapid.T) *messages.RequestPlacement {
	need := func(host string) *messages.Need {
		return &messages.Need{Host: host, Bytes: rapid.Uint64Range(0, 10).Draw(t, "need") * messages.GiB, Shards: rapid.Uint32Range(0, 3).Draw(t, "shards"),
			Kinds: rapid.SampledFrom([][]string{nil, {"cuda"}, {"simulated", "cuda"}}).Draw(t, "kinds")}
	}
	holder := rapid.SampledFrom([]string{"model/main_pc/m%d", "model/pc2/m%d", "model/*/m%d", "client/p%d"}).Draw(t, "holder")
	c := &messages.RequestPlacement{Holder: fmt.Sprintf(holder, rapid.IntRange(0, 3).Draw(t, "name")), Preemptible: true,
		Claim: &messages.Claim{Id: fmt.Sprint(rapid.IntRange(1, 3).Draw(t, "claim"))}}
	if rapid.Bool().Draw(t, "anywhere") {
		c.Claim.Needs = append(c.Claim.Needs, need(""))
		return c
	}
	for _, host := range rapid.SampledFrom([][]string{{"main_pc"}, {"pc2"}, {"main_pc", "pc2"}}).Draw(t, "runs on") {
		c.Claim.Needs = append(c.Claim.Needs, need(host))
	}
	return c
}

// For any answers of owners, with any of them lost: once they answer again every open placement ends, and no lease is lost: each granted one is
// handed over or released.
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
				w, c := world(t), ask(t)
				checkChoice(t, m.State, c, w)
				m.Readings = w
				r, err := m.Do(c)
				if err == nil && r.Answer == nil {
					t.Fatal("a placement without an answer")
				}
				for _, e := range r.Events {
					if d, ok := e.(*messages.PlacementDecided); ok {
						checkHost(t, c, w, d.Placement)
					}
				}
			case 3:
				m.Readings = world(t)
				_, _ = m.Do(&messages.RelievePressure{Gpu: "gpu/main_pc/gpu0", LevelBytes: messages.GiB})
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

// checkHost: a placement is on one host, its own; its holder is there; and it holds what was needed there, on devices of a kind that was asked
// for.
func checkHost(t *rapid.T, c *messages.RequestPlacement, w *messages.SchedulerReadings, p *messages.Placement) {
	kind, host, name := parts(p.Holder)
	asked, askedHost, askedName := parts(c.Holder)
	if kind != asked || name != askedName || kind != program && host != p.Host || askedHost != messages.AnyHost && host != askedHost {
		t.Fatalf("%s asked and %s got a placement on %s", c.Holder, p.Holder, p.Host)
	}
	i := slices.IndexFunc(c.Claim.Needs, func(n *messages.Need) bool { return n.Host == p.Host || n.Host == "" })
	if i < 0 {
		t.Fatalf("%s can't run on %s: %v", c.Holder, p.Host, c.Claim)
	}
	n := c.Claim.Needs[i]
	shards := max(int(n.Shards), 1)
	if len(p.Shares) != shards || p.Bytes() < n.Bytes || p.Bytes() >= n.Bytes+uint64(shards) {
		t.Fatalf("%v became %v", n, p)
	}
	for _, share := range p.Shares {
		j := slices.IndexFunc(w.Ledgers, func(l *messages.GpuView) bool { return l.Id == share.Gpu })
		if j < 0 || w.Ledgers[j].Host != p.Host {
			t.Fatalf("a share of %v is no device of its host", p)
		}
		if len(n.Kinds) > 0 && w.Ledgers[j].Kind != preferred(need{kinds: n.Kinds}, p.Host, w.Ledgers) {
			t.Fatalf("%s is of kind %s, asked for was %v", share.Gpu, w.Ledgers[j].Kind, n.Kinds)
		}
	}
}

// checkChoice: a refusal comes only when no devices could ever hold it, and then without a time to retry; the chosen devices stand, are as
// many as are needed, on one host, and have room once the victims are gone, none of whom is pinned or busy, or could have stayed.
func checkChoice(t *rapid.T, s State, c *messages.RequestPlacement, w *messages.SchedulerReadings) {
	q := questionOf(s, c, w, 0)
	candidates := s.weigh(policies["first_fit"], q)
	chosen := q.choose(candidates)
	if chosen == nil {
		if err := never(q, candidates); !q.possible(candidates) && len(candidates) > 0 && err.Retry != 0 {
			t.Fatalf("never fits, and yet to be retried after %s", err.Retry)
		}
		return
	}
	p := q.placementOn(chosen, c, "p")
	checkHost(t, c, w, p)
	for _, v := range p.Victims {
		for _, r := range w.Allocations {
			if r.Holder == v && (r.Pinned || r.Active > 0) {
				t.Fatalf("%s is to leave although it is pinned or busy", v)
			}
		}
	}
	for i, v := range p.Victims {
		if q.roomWithout(chosen, slices.Delete(slices.Clone(p.Victims), i, i+1)) {
			t.Fatalf("%s has to leave and needn't: %v", v, p)
		}
	}
	seen := map[string]bool{}
	for i, share := range p.Shares {
		if seen[share.Gpu] || seen[share.Lease] || share.Bytes != q.needOn(p.Host).bytes {
			t.Fatalf("share %d is no part of its own: %v", i, p)
		}
		seen[share.Gpu], seen[share.Lease] = true, true
		l := w.Ledgers[slices.IndexFunc(w.Ledgers, func(l *messages.GpuView) bool { return l.Id == share.Gpu })]
		if l.Lost {
			t.Fatalf("%s is lost and was chosen", l.Id)
		}
		held := share.Bytes + l.ReservedBytes - freed(l, s.leaving()) + s.promised(l.Id)
		for _, r := range q.allocations {
			if slices.Contains(p.Victims, r.Holder) {
				bytes, _ := r.On(l.Id)
				held -= min(bytes, held)
			}
		}
		if held > l.LimitBytes {
			t.Fatalf("%s is over its limit: %d of %d with %v", l.Id, held, l.LimitBytes, p)
		}
	}
}

// The set of devices is the cheapest that there is: no other set of one host's devices that would do costs less. Hosts may need different
// numbers of devices.
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
		q := question{}
		for h := range 3 {
			q.needs = append(q.needs, need{host: fmt.Sprintf("host%d", h), shards: rapid.IntRange(1, 4).Draw(t, "shards")})
		}
		best := -1.0
		for set := range 1 << len(cs) {
			sum, count, host := 0.0, 0, ""
			for i, c := range cs {
				switch {
				case set&(1<<i) == 0:
				case c.Refusal != "" || host != "" && host != hostOf(c.Gpu):
					count = -100
				default:
					sum, count, host = sum+c.Cost, count+1, hostOf(c.Gpu)
				}
			}
			if count > 0 && count == q.needOn(host).shards && (best < 0 || sum < best) {
				best = sum
			}
		}
		chosen := q.choose(cs)
		if (chosen == nil) != (best < 0) || chosen != nil && (costs(chosen) != best || len(chosen) != q.needOn(hostOf(chosen[0].Gpu)).shards) {
			t.Fatalf("chose %v of %v for %v; the cheapest cost %v", chosen, cs, q.needs, best)
		}
	})
}

func TestFirstFit(t *testing.T) {
	gib := messages.GiB
	view := func(name string, limit, reserved uint64) *messages.GpuView {
		return &messages.GpuView{Id: "gpu/main_pc/" + name, Host: "main_pc", LimitBytes: limit * gib, ReservedBytes: reserved * gib}
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
		q := questionOf(s, request("model/main_pc/x", c.need*gib), seen(c.ledgers), 0)
		for _, x := range q.choose(s.weigh(policies["first_fit"], q)) {
			got = x.Gpu
		}
		if got != c.want {
			t.Errorf("%s: chose %q, want %q", name, got, c.want)
		}
	}
}
