package arbiter

import (
	"cmp"
	"math"
	"slices"

	"modelops/actors/entity"
	"modelops/messages"
)

// Free memory in pieces on several devices holds nothing large. A plan moves idle models until one piece is large enough.

// site is a device as the planner sees it.
type site struct {
	gpu   string
	class string // models move between devices of one host and kind only
	free  uint64
	limit uint64
	need  uint64 // of the holder that asks, on this device; 0 = the plan's own need
}

// piece is a model that may move: idle, unpinned and on one device.
type piece struct {
	*messages.Allocation
	bytes uint64
	at    int // index of its site
}

// layout is which model is on which device.
type layout struct {
	sites  []site
	pieces []piece // the largest first
}

func (s State) layoutOf(q question) layout {
	var l layout
	at := map[string]int{}
	for _, g := range q.ledgers {
		if g.Lost {
			continue
		}
		used := g.ReservedBytes + g.ForeignBytes + s.promised(g.Id)
		at[g.Id] = len(l.sites)
		l.sites = append(l.sites, site{g.Id, g.Host + "/" + g.Kind, g.LimitBytes - min(used, g.LimitBytes), g.LimitBytes, q.needAt(g)})
	}
	for _, r := range q.allocations {
		if r.State != messages.Allocation_settled || !q.stays(r) || len(r.Shares) != 1 || same(r.Holder, q.holder) || !restful(r, useOf(r, q.collation)) {
			continue
		}
		i, ok := at[r.Shares[0].Gpu]
		if !ok {
			continue
		}
		for _, g := range q.ledgers {
			if g.Id == r.Shares[0].Gpu && g.ReservedBytes+g.ForeignBytes <= g.LimitBytes { // where foreign use took reserved memory, its leaving frees less
				l.pieces = append(l.pieces, piece{r, leaves(g, r), i})
			}
		}
	}
	slices.SortStableFunc(l.pieces, func(a, b piece) int {
		if a.bytes != b.bytes {
			return map[bool]int{true: -1, false: 1}[a.bytes > b.bytes]
		}
		return map[bool]int{true: -1, false: 1}[a.Holder < b.Holder]
	})
	return l
}

// needAt is what the holder needs on a device; 0 when nothing is asked for.
func (q question) needAt(g *messages.GpuView) uint64 { return q.needOn(g.Host).bytes }

// largest is the largest free block, and where it is.
func (l layout) largest() (free uint64, at int) {
	at = -1
	for i, s := range l.sites {
		if at < 0 || s.free > free {
			free, at = s.free, i
		}
	}
	return free, at
}

// room is the largest free block that holds what is needed on its device, or the largest of all when none does.
func (l layout) room(need uint64) (at int) {
	free := uint64(0)
	at = -1
	for i, s := range l.sites {
		if s.free >= cmp.Or(s.need, need) && (at < 0 || s.free > free) {
			free, at = s.free, i
		}
	}
	if at < 0 {
		_, at = l.largest()
	}
	return at
}

const (
	// maxMoves bounds a plan: more moves cost more than they gain.
	maxMoves = 6
	// planSteps bounds the search. Small fleets are searched to the end: their plans are the shortest.
	planSteps = 20_000
)

// plan finds the fewest moves, and of those the cheapest, after which need fits on one device. They are done one after the other: each
// model is away from its old device before it comes to the new one, which has room for it then.
func (l layout) plan(need uint64) (moves []*messages.Move, ok bool) {
	for depth := 0; depth <= maxMoves; depth++ {
		s := search{layout: layout{slices.Clone(l.sites), slices.Clone(l.pieces)}, need: need, steps: planSteps, cost: math.Inf(1)}
		s.dig(depth, 0)
		if s.found {
			return s.best, true
		}
		if s.steps <= 0 {
			return nil, false
		}
	}
	return nil, false
}

// grow is the plan without a need: the largest free block has to grow by a sixteenth of its device at least, else no move is worth it.
func (l layout) grow() (moves []*messages.Move, need uint64, ok bool) {
	largest, _ := l.largest()
	most := uint64(0)
	for _, s := range l.sites {
		var sum uint64
		for _, other := range l.sites {
			if other.class == s.class {
				sum += other.free
			}
		}
		most = max(most, min(sum, s.limit))
	}
	if most <= largest {
		return nil, 0, false
	}
	for quarters := uint64(4); quarters > 0; quarters-- {
		need = largest + (most-largest)/4*quarters
		if need < largest+l.worthwhile() {
			break
		}
		if moves, ok = l.plan(need); ok {
			return moves, need, true
		}
	}
	return nil, 0, false
}

func (l layout) worthwhile() uint64 {
	var limit uint64
	for _, s := range l.sites {
		limit = max(limit, s.limit)
	}
	return max(limit/16, 1)
}

// search is a walk over layouts, each a move away from the one before.
type search struct {
	layout
	need  uint64
	steps int
	path  []*messages.Move
	best  []*messages.Move
	cost  float64
	found bool
}

// needAt is what has to fit on the i-th device.
func (s *search) needAt(i int) uint64 { return cmp.Or(s.sites[i].need, s.need) }

// enough tells whether the need fits on a device.
func (s *search) enough() bool {
	for i, x := range s.sites {
		if x.free >= s.needAt(i) {
			return true
		}
	}
	return false
}

func (s *search) dig(left int, cost float64) {
	if s.steps--; s.steps <= 0 || cost >= s.cost {
		return
	}
	if s.enough() {
		s.best, s.cost, s.found = slices.Clone(s.path), cost, true
		return
	}
	if s.least() > left {
		return
	}
	for i := range s.pieces {
		p := &s.pieces[i]
		from := p.at
		if left == 1 && s.sites[from].free+p.bytes < s.needAt(from) || len(s.path) > 0 && s.path[len(s.path)-1].Holder == p.Holder {
			continue
		}
		for to := range s.sites {
			if to == from || s.sites[to].free < p.bytes || s.sites[to].class != s.sites[from].class {
				continue
			}
			step := worth(p.Allocation)
			s.path = append(s.path, &messages.Move{Holder: p.Holder, From: s.sites[from].gpu, To: s.sites[to].gpu, Bytes: p.bytes,
				IdleMs: p.IdleMs, LoadMs: p.LoadMs, Cost: step})
			p.at, s.sites[from].free, s.sites[to].free = to, s.sites[from].free+p.bytes, s.sites[to].free-p.bytes
			s.dig(left-1, cost+step)
			p.at, s.sites[from].free, s.sites[to].free = from, s.sites[from].free-p.bytes, s.sites[to].free+p.bytes
			s.path = s.path[:len(s.path)-1]
		}
	}
}

// least is the fewest moves that could do, if every model found room elsewhere: the largest of one device leave it.
func (s *search) least() int {
	lacks, count := make([]uint64, len(s.sites)), make([]int, len(s.sites))
	for i, x := range s.sites {
		need := s.needAt(i)
		lacks[i] = need - min(x.free, need)
		if x.limit < need {
			lacks[i] = math.MaxUint64
		}
	}
	for _, p := range s.pieces {
		if lacks[p.at] > 0 {
			count[p.at]++
			lacks[p.at] -= min(p.bytes, lacks[p.at])
		}
	}
	least := math.MaxInt
	for i := range lacks {
		if lacks[i] == 0 {
			least = min(least, count[i])
		}
	}
	return least
}

// instead looks for moves that would spare an eviction. They are tried once for a claim; the room that they make is kept for its holder.
func (r Rules) instead(s State, c *messages.RequestPlacement, q question, candidates []*messages.Candidate, at entity.Stamp) (wait *entity.Verdict, advice string) {
	if m := s.Moving; m != nil {
		if !same(m.Plan.Holder, c.Holder) {
			return nil, ""
		}
		v := postpone(s, c, q, candidates, "room is being made for it: "+inWords(m.Plan.Moves[m.Next:]), at)
		return &v, ""
	}
	if r.Defrag != "propose" && r.Defrag != "auto" || s.Postponed[c.Holder].Claim == c.Claim.Id {
		return nil, ""
	}
	p := s.spared(q)
	switch {
	case p == nil:
		return nil, ""
	case r.Defrag == "propose":
		return nil, "no holder would have to leave if these moved: " + inWords(p.Moves) + "; modelops defrag --for MODEL --apply does it before the next time"
	}
	v := postpone(s, c, q, candidates, "room is being made for it: "+inWords(p.Moves), at)
	p.Id = at.ID
	v.Events = append(v.Events, carryOut(at, p, c.Holder)...)
	return &v, ""
}
