package arbiter

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"modelops/messages"
)

func scattered(t *rapid.T) layout {
	var l layout
	for i := range rapid.IntRange(1, 3).Draw(t, "devices") {
		limit := rapid.Uint64Range(4, 12).Draw(t, "limit")
		l.sites = append(l.sites, site{gpu: fmt.Sprintf("gpu/h/g%d", i), class: "h/cuda", free: limit, limit: limit})
	}
	for i := range rapid.IntRange(0, 5).Draw(t, "models") {
		at := rapid.IntRange(0, len(l.sites)-1).Draw(t, "at")
		bytes := rapid.Uint64Range(1, 6).Draw(t, "bytes")
		if l.sites[at].free < bytes {
			continue
		}
		l.sites[at].free -= bytes
		l.pieces = append(l.pieces, piece{&messages.Allocation{Holder: fmt.Sprintf("model/h/m%d", i),
			IdleMs: rapid.Int64Range(0, 9000).Draw(t, "idle"), LoadMs: rapid.Int64Range(0, 9000).Draw(t, "load")}, bytes, at})
	}
	slices.SortStableFunc(l.pieces, func(a, b piece) int { return cmp.Compare(b.bytes, a.bytes) }) // as layoutOf has them
	return l
}

// follow carries out moves one after the other, and fails when one has no room.
func follow(t *rapid.T, l layout, moves []*messages.Move) layout {
	l = layout{slices.Clone(l.sites), slices.Clone(l.pieces)}
	at := func(gpu string) int { return slices.IndexFunc(l.sites, func(s site) bool { return s.gpu == gpu }) }
	for n, m := range moves {
		i := slices.IndexFunc(l.pieces, func(p piece) bool { return p.Holder == m.Holder })
		from, to := at(m.From), at(m.To)
		if p := l.pieces[i]; p.at != from || p.bytes != m.Bytes || l.sites[to].free < p.bytes || from == to {
			t.Fatalf("move %d of %v can't be done: %+v", n, moves, l)
		}
		l.sites[from].free += m.Bytes
		l.sites[to].free -= m.Bytes
		l.pieces[i].at = to
	}
	return l
}

// shortest tries all moves, level by level.
func shortest(l layout, need uint64, most int) int {
	level := []layout{l}
	for n := 0; n <= most; n++ {
		var next []layout
		seen := map[string]bool{}
		for _, x := range level {
			if free, _ := x.largest(); free >= need {
				return n
			}
			for i, p := range x.pieces {
				for to := range x.sites {
					if to == p.at || x.sites[to].free < p.bytes {
						continue
					}
					y := layout{slices.Clone(x.sites), slices.Clone(x.pieces)}
					y.sites[p.at].free += p.bytes
					y.sites[to].free -= p.bytes
					y.pieces[i].at = to
					key := ""
					for _, p := range y.pieces {
						key += fmt.Sprint(p.at)
					}
					if !seen[key] {
						seen[key] = true
						next = append(next, y)
					}
				}
			}
		}
		level = next
	}
	return -1
}

// A plan's moves can be done one after the other without a device over its limit, they make the room that the plan says, and no shorter plan
// does.
func TestPlansAreFeasibleAndShortest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := scattered(t)
		need := rapid.Uint64Range(1, 12).Draw(t, "need")
		moves, ok := l.plan(need)
		if want := shortest(l, need, 4); ok && want >= 0 && len(moves) != want || !ok && want >= 0 || ok && len(moves) <= 4 && want < 0 {
			t.Fatalf("plan %v (%t), the shortest has %d moves: %+v", moves, ok, want, l)
		}
		if !ok {
			return
		}
		if free, _ := follow(t, l, moves).largest(); free < need {
			t.Fatalf("%v leaves %d for %d", moves, free, need)
		}
	})
}

func TestGrowingIsWorthIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := scattered(t)
		before, _ := l.largest()
		moves, need, ok := l.grow()
		if !ok {
			return
		}
		if free, _ := follow(t, l, moves).largest(); free < need || free < before+l.worthwhile() || len(moves) == 0 {
			t.Fatalf("%v: %d before, %d after, %d promised", moves, before, free, need)
		}
	})
}

func TestOnlyIdleUnpinnedUnsplitModelsMove(t *testing.T) {
	gpu := func(name string) *messages.GpuView {
		return &messages.GpuView{Id: "gpu/h/" + name, Host: "h", Kind: "cuda", LimitBytes: 10, ReservedBytes: 6}
	}
	for name, change := range map[string]func(*messages.Allocation){
		"pinned":  func(r *messages.Allocation) { r.Pinned = true },
		"busy":    func(r *messages.Allocation) { r.Active = 1 },
		"loading": func(r *messages.Allocation) { r.State = messages.Allocation_starting },
		"warm":    func(r *messages.Allocation) { r.IdleMs = 50 },
		"split": func(r *messages.Allocation) {
			r.Shares = []*messages.Share{{Gpu: "gpu/h/a", Bytes: 3}, {Gpu: "gpu/h/b", Bytes: 3}}
		},
		"the need": func(r *messages.Allocation) { r.Holder = "model/h/need" },
		"":         func(*messages.Allocation) {},
	} {
		a, b := gpu("a"), gpu("b")
		r := settled("model/h/x", a.Id, 4)
		r.IdleMs = 1000
		change(r)
		q := questionOf(New(messages.ArbiterActor()), &messages.RequestPlacement{Holder: "model/h/need"}, seen([]*messages.GpuView{a, b}, r), 0)
		q.collation = 100
		if moves, ok := New(messages.ArbiterActor()).layoutOf(q).plan(8); ok != (name == "") {
			t.Errorf("%s: %v %t", name, moves, ok)
		}
	}
}

func TestModelsDontMoveBetweenHostsOrKinds(t *testing.T) {
	a, b, c := card(10, 6, 0), card(10, 6, 0), card(7, 0, 0)
	b.Id, b.Host, c.Id, c.Kind = "gpu/other/g0", "other", "gpu/h/cpu", "cpu"
	q := questionOf(New(messages.ArbiterActor()), &messages.RequestPlacement{}, seen([]*messages.GpuView{a, b, c}, idle("model/h/x", 4)), 0)
	if moves, ok := New(messages.ArbiterActor()).layoutOf(q).plan(8); ok {
		t.Errorf("%v", moves)
	}
}
