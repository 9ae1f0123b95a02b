package pool

import (
	"testing"

	"pgregory.net/rapid"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

// crossing is a host with few places that several pools share, and what each pool's requests see of the others.
type crossing struct {
	*rapid.T
	*bounded
	Line[*Pool]
	pools []*Pool
	next  uint64
	// passed is how many requests of each other pool were given a place since a pool waits for one; no entry while it doesn't.
	passed map[*Pool]map[*Pool]int
}

// fill is what a caller does for a pool: it dispatches, and counts whom its requests passed.
func (c *crossing) fill(p *Pool) (full bool) {
	return Fill(c, p, func() bool {
		d := p.Dispatch(entitytest.Epoch)
		for range d.Granted {
			delete(c.passed, p)
			for q, by := range c.passed {
				if by[p]++; by[p] > 1 {
					c.Fatalf("pool %s waits for a place of the host, and %s got two", q.name, p.name)
				}
			}
		}
		return d.WaitsForHost
	})
}

func (c *crossing) admit(p *Pool) {
	c.next++
	if position, err := p.Admit(Request{Ticket: c.next, Class: 0, Since: entitytest.Epoch}); err == nil && position > 0 {
		c.fill(p)
	}
}

func (c *crossing) finish(p *Pool) {
	if len(p.running) == 0 {
		return
	}
	p.Finish(rapid.SampledFrom(sorted(p.running)).Draw(c.T, "ends"), messages.Outcome{}, entitytest.Epoch)
	first, waits := Left(c, p)
	if !waits {
		c.fill(p)
		return
	}
	Turns(c, first, c.fill)
}

// look sees who waits for the host now: none may while it has a place.
func (c *crossing) look() {
	for _, p := range c.pools {
		e, _, _ := p.vacant(messages.Only{}, entitytest.Epoch)
		switch waits := e != nil && p.Waiting() > 0; {
		case !waits:
			delete(c.passed, p)
		case c.Counts().Free():
			c.Fatalf("%d requests of %s wait beside a free place: %d of %d run", p.Waiting(), p.name, c.Running, c.MaxRunning)
		case c.passed[p] == nil:
			c.passed[p] = map[*Pool]int{}
		}
	}
}

// Pools of one host, in any order of steps: no request waits beside a place that it could have, and no pool gets a second place past one that waits.
func TestPoolsOfOneHostTakeTurns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &crossing{T: t, bounded: &bounded{counts{MaxRunning: rapid.Int64Range(1, 4).Draw(t, "host")}}, passed: map[*Pool]map[*Pool]int{}}
		for _, name := range []string{"a", "b", "c"} {
			p := New(name, "main_pc", Figures{Limits: Limits{rapid.IntRange(1, 3).Draw(t, "concurrent"), 4}, FailureThreshold: 1}, c)
			_ = p.Update(&messages.ModelView{Id: "model/main_pc/" + name, Name: name, Attempt: 1, Phase: messages.ModelView_ready, Spec: &messages.ModelSpec{}}, entitytest.Epoch)
			c.pools = append(c.pools, p)
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			p := rapid.SampledFrom(c.pools).Draw(t, "pool")
			if rapid.Bool().Draw(t, "comes") {
				c.admit(p)
			} else {
				c.finish(p)
			}
			c.look()
		}
	})
}

// meanwhile is a host where another caller's request leaves just before a pool is in the line, so that it finds none there.
type meanwhile struct {
	*crossing
	left bool
}

func (m *meanwhile) Wait(p *Pool) {
	if !m.left {
		m.left = true
		m.Leave()
	}
	m.crossing.Wait(p)
}

func TestAPlaceThatBecomesFreeMeanwhileIsUsed(t *testing.T) {
	h := &meanwhile{crossing: &crossing{bounded: &bounded{counts{Running: 1, MaxRunning: 1}}}}
	p := newPoolOn(h, 2, 2)
	_ = p.Update(&messages.ModelView{Id: "model/main_pc/tiny", Attempt: 1, Phase: messages.ModelView_ready, Spec: &messages.ModelSpec{}}, entitytest.Epoch)
	for ticket := range uint64(2) {
		if position, err := p.Admit(Request{Ticket: ticket + 1, Since: entitytest.Epoch}); position == 0 || err != nil {
			t.Fatal(position, err)
		}
	}
	full := Fill(h, p, func() bool { return p.Dispatch(entitytest.Epoch).WaitsForHost })
	if !full || len(p.running) != 1 || p.Waiting() != 1 {
		t.Errorf("full %t, %d run and %d wait beside the place that became free", full, len(p.running), p.Waiting())
	}
}
