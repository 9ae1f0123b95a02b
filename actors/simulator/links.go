package simulator

import (
	"time"
)

// Links are what goes wrong between hosts. The zero value is a good network.
type Links struct {
	// Every is the mean time between two troubles. Each lasts between Shortest and Longest; 0 = 5 s and a minute.
	Every, Shortest, Longest time.Duration
}

// link is how messages go from one host to another.
type link struct {
	cut   bool
	loss  float64       // chance that a message is lost
	delay time.Duration // of each message
	flaps time.Duration // it is cut and whole in turn, each for so long
	of    int           // the trouble that made it so
}

// whole tells whether everything comes through at once.
func (l link) whole() bool { return !l.cut && l.loss == 0 && l.delay == 0 && l.flaps == 0 }

// through is how much later than usual a message from one host comes to another one; below 0 it is lost.
func (c *Cluster) through(from, to *World) time.Duration {
	l := c.links[from.first][to.first]
	switch {
	case l.cut, l.flaps > 0 && (c.elapsed/l.flaps)%2 == 0, l.loss > 0 && c.rng.Float64() < l.loss:
		return -1
	}
	return l.delay
}

// send does something at another host when the message has come; false when it is lost at once. A host that is down takes none.
func (c *Cluster) send(from, to *World, do func()) bool {
	late := c.through(from, to)
	if late < 0 || to.down {
		return false
	}
	to.alive(late+from.latency(), func() {
		if c.links[from.first][to.first].cut { // it was cut while the message was under way
			return
		}
		do()
	})
	return true
}

// trouble lets something go wrong with the links, for a while.
func (c *Cluster) trouble() {
	if c.calm {
		return
	}
	c.after(time.Duration(c.rng.ExpFloat64()*float64(c.o.Links.Every)), c.trouble)
	c.troubles++
	of, n := c.troubles, len(c.links)
	a, b := c.rng.IntN(n), c.rng.IntN(n-1)
	if b >= a {
		b++
	}
	both := func(l link) {
		l.of = of
		c.links[a][b], c.links[b][a] = l, l
	}
	switch what := c.rng.IntN(8); what {
	case 0, 1, 2: // two parts
		part := make([]bool, n)
		for i := range part {
			part[i] = c.rng.IntN(2) == 0
		}
		part[a], part[b] = true, false
		for i := range n {
			for j := range n {
				if part[i] != part[j] {
					c.links[i][j] = link{cut: true, of: of}
				}
			}
		}
		c.say("the hosts are parted: %v", part)
	case 3:
		both(link{cut: true})
		c.say("%s and %s are cut", hostName(a), hostName(b))
	case 4:
		c.links[a][b] = link{cut: true, of: of}
		c.say("nothing comes from %s to %s", hostName(a), hostName(b))
	case 5:
		both(link{loss: 0.05 + 0.6*c.rng.Float64()})
		c.say("%s and %s lose messages", hostName(a), hostName(b))
	case 6:
		both(link{delay: time.Duration(c.rng.Int64N(int64(900 * time.Millisecond)))})
		c.say("%s and %s are slow", hostName(a), hostName(b))
	case 7:
		both(link{flaps: time.Duration(100+c.rng.IntN(2000)) * time.Millisecond})
		c.say("the link of %s and %s comes and goes", hostName(a), hostName(b))
	}
	c.unsettled()
	c.after(c.lasts(), func() {
		for i := range n {
			for j := range n {
				if c.links[i][j].of == of {
					c.links[i][j] = link{}
				}
			}
		}
		c.say("trouble %d is over", of)
		c.unsettled()
	})
}

func (c *Cluster) lasts() time.Duration {
	least, most := c.o.Links.Shortest, c.o.Links.Longest
	if most == 0 {
		least, most = 5*time.Second, time.Minute
	}
	return least + time.Duration(c.rng.Int64N(int64(most-least)+1))
}

// mend makes all links whole.
func (c *Cluster) mend() {
	for _, row := range c.links {
		clear(row)
	}
	c.unsettled()
}
