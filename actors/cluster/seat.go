package cluster

import (
	"cmp"
	"hash/fnv"
	"slices"
	"time"

	"modelops/messages"
)

// standing orders the hosts that could have the seat: the lowest one wins.
type standing int

const (
	ready standing = iota
	draining
	starting
)

// standingOf reads a heartbeat. A host that starts follows no arbiter yet.
func standingOf(h *messages.Heartbeat) standing {
	switch {
	case h.Arbiter == "":
		return starting
	case h.Draining:
		return draining
	}
	return ready
}

func (t *Table) standing() standing {
	switch {
	case !t.Ready():
		return starting
	case t.own.Draining:
		return draining
	}
	return ready
}

// Ready tells whether this host's arbiter can take the seat: the host has recovered, and has listened long enough to know who else is there.
func (t *Table) Ready() bool { return t.own.Ready && t.met() }

func (t *Table) met() bool {
	if t.now > Limit {
		return true
	}
	for _, m := range t.members {
		if !m.settled(t.now) {
			return false
		}
	}
	return len(t.members) > 0
}

// candidate is a host of this one's part of the cluster.
type candidate struct {
	host     string
	standing standing
	hears    []string // hosts that hear it and that it hears
}

// Seat is the host whose arbiter places models for this part of the cluster. Hosts that hear each other compute the same: one that doesn't start; of these one
// that most others reach, which is any while no link is cut; of these one that isn't being emptied. What is told of links goes over two hosts, so hosts of a
// part in which two are more than three links apart may disagree; their decisions are refused by the owners that know better.
func (t *Table) Seat() string {
	if t.moved() {
		t.seat = t.choose()
	}
	return t.seat
}

// moved tells whether anything that the seat depends on has changed since it was last chosen, and notes how it is now. The seat is asked for several times in
// each look at the table, and with 32 hosts some 150 heartbeats a second come that mostly say what the last ones said.
func (t *Table) moved() bool {
	own := t.standing()
	moved := t.seat == "" || own != t.stood
	t.stood = own
	for _, m := range t.members {
		var counts *messages.Heartbeat
		if m.settled(t.now) {
			counts = m.beat
		}
		moved = moved || !sameLinks(counts, m.counted)
		m.counted = counts
	}
	return moved
}

// sameLinks tells whether two heartbeats of one host say the same of its links and its standing; nil = none.
func sameLinks(a, b *messages.Heartbeat) bool {
	if a == nil || b == nil || a == b {
		return a == b
	}
	return standingOf(a) == standingOf(b) && slices.EqualFunc(a.Heard, b.Heard, func(x, y *messages.Heard) bool {
		return x.Host == y.Host && x.Both == y.Both && x.Standing == y.Standing && slices.Equal(x.Hears, y.Hears)
	})
}

// choose computes the seat.
func (t *Table) choose() string {
	part := t.part()
	best := slices.MinFunc(part, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.standing/starting, b.standing/starting), cmp.Compare(len(b.hears), len(a.hears)), cmp.Compare(a.standing, b.standing),
			cmp.Compare(score(b.host), score(a.host)), cmp.Compare(a.host, b.host))
	})
	return best.host
}

// Mine tells whether this host's arbiter has the seat.
func (t *Table) Mine() bool { return t.Ready() && t.Seat() == t.own.Host }

// Rivalled tells whether a member that is heard says that it has the seat. When a split heals both sides do, until each has heard the other long enough.
func (t *Table) Rivalled() bool {
	for _, m := range t.members {
		if m.state == messages.MemberView_alive && m.beat.Arbiter == m.host {
			return true
		}
	}
	return false
}

// Outdated tells whether an arbiter elsewhere has taken over since ours did: owners that have seen it refuse ours until it takes over again.
func (t *Table) Outdated() bool { return t.Epoch() > t.own.Epoch || t.own.Epoch == 0 }

// part is this host and the members that it reaches, directly or through others, as far as they tell.
func (t *Table) part() []candidate {
	g := t.graph()
	out, todo := []candidate{}, []string{t.own.Host}
	for seen := map[string]bool{t.own.Host: true}; len(todo) > 0; todo = todo[1:] {
		c := candidate{host: todo[0], standing: g.standings[todo[0]], hears: g.neighbours(todo[0])}
		out = append(out, c)
		for _, next := range c.hears {
			if !seen[next] {
				seen[next] = true
				todo = append(todo, next)
			}
		}
	}
	return out
}

// graph is who hears whom, both ways, as this host knows it.
type graph struct {
	claims    map[string]map[string]bool // what each host says of its neighbours
	direct    map[string]bool            // hosts whose own word is known: it is newer than what others pass on
	standings map[string]standing
}

func (t *Table) graph() graph {
	g := graph{map[string]map[string]bool{}, map[string]bool{t.own.Host: true}, map[string]standing{t.own.Host: t.standing()}}
	for _, m := range t.members {
		if m.settled(t.now) {
			g.claim(t.own.Host, m.host)
			g.direct[m.host], g.standings[m.host] = true, standingOf(m.beat)
		}
	}
	for host := range g.direct {
		if m := t.members[host]; m != nil {
			g.claim(host, t.own.Host)
			g.relay(m, t.own.Host)
		}
	}
	for _, hears := range g.claims {
		for host := range hears {
			if _, known := g.standings[host]; !known {
				g.standings[host] = starting // nobody near says more of it
			}
		}
	}
	return g
}

func (g graph) claim(host, hears string) {
	if g.claims[host] == nil {
		g.claims[host] = map[string]bool{}
	}
	g.claims[host][hears] = true
}

// relay takes what a neighbour says of its neighbours, and what those say of theirs. Nobody speaks for this host. Of a host that isn't heard here, neighbours may
// say different things while its news are on their way: the worse counts, and not what comes last, because members have no order.
func (g graph) relay(m *member, own string) {
	for _, x := range m.beat.Heard {
		if !x.Both || x.Host == own {
			continue
		}
		g.claim(m.host, x.Host)
		if g.direct[x.Host] {
			continue
		}
		g.standings[x.Host] = max(g.standings[x.Host], standing(x.Standing))
		for _, y := range x.Hears {
			if y != own {
				g.claim(x.Host, y)
			}
		}
	}
}

// neighbours are the hosts that hear this one and that it hears. Where both ends have told it themselves, both must say so.
func (g graph) neighbours(host string) (out []string) {
	for other := range g.standings {
		ours, theirs := g.claims[host][other], g.claims[other][host]
		if (ours || theirs) && (ours || !g.direct[host]) && (theirs || !g.direct[other]) {
			out = append(out, other)
		}
	}
	return out
}

// score is the host's place in the order of the seat. It is spread over the hosts of a cluster, and the same on all of them.
func score(host string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte("arbiter/" + host))
	x := h.Sum64()
	x ^= x >> 33 // FNV leaves the high bits of short names alike
	x *= 0xff51afd7ed558ccd
	return x ^ x>>33
}

const (
	// burst take-overs within rivals are the most: arbiters on hosts that reach each other through others only would outbid each other without it.
	burst  = 3
	rivals = 3 * time.Second
)

// Term decides when this host's arbiter takes over while this host has the seat, and again whenever another arbiter has done so since.
type Term struct {
	taken    bool
	latest   []time.Time // take-overs
	rivalled time.Time   // since when another host that is heard has claimed the seat
}

// Bid is what a take-over begins with.
type Bid struct {
	Above   uint64 // the epoch
	Members []string
}

// Begin begins a term: this host has been given the seat.
func (t *Term) Begin(now time.Time) { *t = Term{rivalled: now} }

// End ends it.
func (t *Term) End() { t.taken = false }

// Taken tells whether this host's arbiter has taken over.
func (t *Term) Taken() bool { return t.taken }

// Due tells whether to take over now. A host that is heard and claims the seat gives it up as soon as it has heard of this one: it gets the time for that.
func (t *Term) Due(table *Table, now time.Time) (Bid, bool) {
	grace := time.Duration(0)
	if table.Rivalled() {
		grace = 2 * Settle
	} else {
		t.rivalled = now
	}
	if !table.Mine() || t.taken && !table.Outdated() || now.Sub(t.rivalled) < grace || len(t.latest) == burst && now.Sub(t.latest[0]) <= rivals {
		return Bid{}, false
	}
	b := Bid{Above: table.Epoch(), Members: []string{table.Own().Host}}
	for _, m := range table.Active() {
		b.Members = append(b.Members, m.Host)
	}
	return b, true
}

// Took notes that this host's arbiter has taken over under an epoch.
func (t *Term) Took(table *Table, epoch uint64, now time.Time) {
	t.taken = true
	t.latest = append(t.latest, now)
	t.latest = t.latest[max(0, len(t.latest)-burst):]
	own := table.Own()
	own.Epoch = epoch
	table.Set(own)
}
