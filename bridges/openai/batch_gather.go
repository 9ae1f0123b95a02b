package openai

import "slices"

// batchBytes bounds one batch, as the sum of the members' bodies. Batching pays for small requests; a larger one is sent by
// itself.
const batchBytes = 4 << 20

// gathering is the state of requests that could share an upstream request: how many upstream requests of theirs are under
// way, and which members wait for others. No member waits while nothing is under way.
type gathering struct {
	flights int
	waiting []*member
	inputs  int // of the waiting members, together
	bytes   int
	// round changes whenever a new list of waiting members begins, so that a window that ends late ends nothing else.
	round uint64
}

// arrive takes a member in and returns what is sent now, each list as one upstream request. A member that came while nothing
// was under way, or that fills a batch by itself, is a list of its own.
func (g *gathering) arrive(m *member, most int) (send [][]*member) {
	if g.flights == 0 || len(m.items) >= most {
		g.flights++
		return [][]*member{{m}}
	}
	if len(g.waiting) > 0 && (g.inputs+len(m.items) > most || g.bytes+m.bytes() > batchBytes) {
		send = append(send, g.depart())
	}
	if len(g.waiting) == 0 {
		g.round++
	}
	g.waiting = append(g.waiting, m)
	g.inputs, g.bytes = g.inputs+len(m.items), g.bytes+m.bytes()
	if g.inputs == most {
		send = append(send, g.depart())
	}
	return send
}

// over ends the window of a round: the waiting members are sent.
func (g *gathering) over(round uint64) []*member {
	if g.round != round || len(g.waiting) == 0 {
		return nil
	}
	return g.depart()
}

// landed tells that an upstream request is over. After the last one there is nothing to wait for any more.
func (g *gathering) landed() []*member {
	g.flights--
	if g.flights > 0 || len(g.waiting) == 0 {
		return nil
	}
	return g.depart()
}

// leave takes out a member that waits no longer; false when it isn't among the waiting.
func (g *gathering) leave(m *member) bool {
	i := slices.Index(g.waiting, m)
	if i < 0 {
		return false
	}
	g.waiting = slices.Delete(g.waiting, i, i+1)
	g.inputs, g.bytes = g.inputs-len(m.items), g.bytes-m.bytes()
	return true
}

// depart makes one upstream request of all waiting members.
func (g *gathering) depart() []*member {
	list := g.waiting
	g.waiting, g.inputs, g.bytes = nil, 0, 0
	g.flights++
	return list
}
