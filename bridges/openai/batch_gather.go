package openai

import "slices"

// batchBytes bounds what is gathered into one batch, as the members' whole bodies. Batching pays for small requests; a
// larger one goes as it came.
const batchBytes = 4 << 20

// gathering is what is known of requests that could share an answer from the engine: how many upstream requests of theirs
// are under way, and who waits for company. Nobody waits while nothing is under way.
type gathering struct {
	flights int
	waiting []*member
	inputs  int // of those who wait, together
	bytes   int
	// round changes whenever a new list of waiting members begins, so that a window that ends late ends nothing else.
	round uint64
}

// arrive takes a member in and returns who goes now, each list as one upstream request. A member that came while nothing
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

// over ends the window of a round: who has waited goes.
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

// leave takes out a member that waits no longer; false when it isn't among those who wait.
func (g *gathering) leave(m *member) bool {
	i := slices.Index(g.waiting, m)
	if i < 0 {
		return false
	}
	g.waiting = slices.Delete(g.waiting, i, i+1)
	g.inputs, g.bytes = g.inputs-len(m.items), g.bytes-m.bytes()
	return true
}

// depart makes one flight of all who wait.
func (g *gathering) depart() []*member {
	list := g.waiting
	g.waiting, g.inputs, g.bytes = nil, 0, 0
	g.flights++
	return list
}
