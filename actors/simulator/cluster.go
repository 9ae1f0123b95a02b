package simulator

import (
	"context"
	"fmt"
	"slices"
	"time"

	"modelops/actors/cluster"
	"modelops/messages"
)

// Cluster is several hosts in virtual time. Each is a World of its own: its coordinator, its arbiter, its journal, its table of members. They reach each other over
// links that are cut, slow or lossy. It is used by one goroutine.
type Cluster struct {
	*universe
	o      Options
	links  [][]link // from, to
	stable time.Duration
	obeyed map[messages.ActorID]term
	spared map[string]time.Duration // when a host last let a model go that another one had too

	beats, reports, asks, passed, takeOvers, equals, spares, troubles int
}

// NewCluster makes Options.Hosts hosts that have just started, each with the devices and the models of the options.
func NewCluster(o Options) *Cluster {
	n := max(o.Hosts, 2)
	o.Hosts = 1
	c := &Cluster{universe: newUniverse(o.Seed), o: o, obeyed: map[messages.ActorID]term{}, spared: map[string]time.Duration{}}
	for i := range n {
		c.links = append(c.links, make([]link, n))
		w := newWorld(c.universe, o, i)
		w.far = &far{w: w, net: c}
	}
	for _, w := range c.worlds {
		w.open()
	}
	if o.Links.Every > 0 {
		c.after(o.Links.Every, c.trouble)
	}
	c.after(time.Second, c.agrees)
	return c
}

// named is a host by its name.
func (c *Cluster) named(host string) *World {
	i := slices.IndexFunc(c.worlds, func(w *World) bool { return w.host(0) == host })
	if i < 0 {
		panic(fmt.Sprintf("there is no host %q", host))
	}
	return c.worlds[i]
}

// agreement is how long the links must stay as they are until hosts that hear each other agree, and the arbiter of the seat has taken over: a loss is noticed,
// told, and what came back has settled.
const agreement = cluster.Limit + cluster.Limit/2 + 4*cluster.Period + 4*cluster.Settle + time.Second

// unsettled notes that a link or a host has changed.
func (c *Cluster) unsettled() { c.stable = c.elapsed }

// hear tells whether two hosts run and their link carries everything both ways.
func (c *Cluster) hear(a, b *World) bool {
	return !a.down && !b.down && c.links[a.first][b.first].whole() && c.links[b.first][a.first].whole()
}

// settled tells whether links and hosts have been as they are for long enough.
func (c *Cluster) settled() bool {
	for _, row := range c.links {
		for _, l := range row {
			if !l.whole() && !l.cut || l.flaps > 0 {
				return false
			}
		}
	}
	return c.elapsed-c.stable > agreement
}

// agrees checks once a second that hosts which hear each other follow one arbiter, which has taken over under an epoch that all of them would obey.
func (c *Cluster) agrees() {
	c.after(time.Second, c.agrees)
	if why := c.discord(); why != "" && c.settled() {
		c.violated("%s after the links have stayed as they are: %s", why, c.elapsed-c.stable)
	}
}

// discord says about what hosts that hear each other disagree.
func (c *Cluster) discord() string {
	for i, a := range c.worlds {
		if a.down {
			continue
		}
		seat := a.far.table.Seat()
		for _, b := range c.worlds[:i] {
			if c.hear(a, b) && b.far.table.Seat() != seat {
				return fmt.Sprintf("%s follows the arbiter of %s, %s that of %s", a.host(0), seat, b.host(0), b.far.table.Seat())
			}
		}
		s := c.named(seat)
		switch {
		case s != a && !c.hear(a, s):
			continue // it reaches the seat through others only
		case s.down:
			return fmt.Sprintf("%s follows the arbiter of %s, which is down", a.host(0), seat)
		case !s.far.term.Taken():
			return fmt.Sprintf("the arbiter of %s has the seat and hasn't taken over", seat)
		case s.arbiter.state.Epoch < a.far.own().Obeyed:
			return fmt.Sprintf("the arbiter of %s has epoch %d, and an owner on %s has obeyed %d", seat, s.arbiter.state.Epoch, a.host(0), a.far.own().Obeyed)
		}
	}
	return ""
}

// Calm mends all links, starts all hosts and ends all mishaps. Without another command all must come to rest, agree on one arbiter and give back what nobody
// holds. Then each model must answer at each host, and after that nothing may be held anywhere. Its error is a *Violation, or the context's.
func (c *Cluster) Calm(ctx context.Context) error {
	c.mend()
	for _, w := range c.worlds {
		w.settleDown()
	}
	if err := c.toRest(ctx); err != nil {
		return err
	}
	if why := c.discord(); why != "" {
		c.violated("at rest, but %s", why)
	}
	for _, w := range c.worlds {
		for _, m := range c.o.Models {
			if err := c.answers(ctx, w, m); err != nil {
				return err
			}
		}
	}
	for _, w := range c.worlds {
		w.unloadAll()
	}
	if err := c.toRest(ctx); err != nil {
		return err
	}
	for _, w := range c.worlds {
		if why := w.left(); why != "" {
			c.violated("nothing is wanted, but %s", why)
		}
		if w.tally.pending > 0 {
			c.violated("%d requests at %s never ended", w.tally.pending, w.host(0))
		}
	}
	return c.err()
}

// answers demands that a model which fits answers at a host.
func (c *Cluster) answers(ctx context.Context, w *World, m Model) error {
	r := w.call(m.Name, 10*time.Millisecond)
	if err := c.toRest(ctx); err != nil {
		return err
	}
	if r.code != 0 && w.fits(m) {
		c.violated("%s fits and nothing goes wrong, but at %s it answers %s", m.Name, w.host(0), r.code)
	}
	return c.err()
}

// toRest runs until nothing is under way on any host.
func (c *Cluster) toRest(ctx context.Context) error {
	deadline := c.elapsed + c.worlds[0].Bound() + recovery
	for c.broken == nil {
		switch why := c.unrest(); {
		case why == "":
			return nil
		case c.elapsed > deadline:
			c.violated("not at rest %s after calm began: %s", c.worlds[0].Bound()+recovery, why)
		case ctx.Err() != nil:
			return ctx.Err()
		}
		for n := 0; n < 64 && c.step(); n++ { // to look takes longer than a step
		}
	}
	return c.err()
}

func (c *Cluster) unrest() string {
	for _, w := range c.worlds {
		if why := w.unrest(); why != "" {
			return w.host(0) + ": " + why
		}
	}
	if !c.settled() {
		return "the hosts haven't had time to agree"
	}
	return c.doubles()
}

// ClusterSummary is a run in numbers: what the hosts did together, and what each of them did.
type ClusterSummary struct {
	Hosts      int       `json:"hosts"`
	Troubles   int       `json:"link_troubles"`
	Beats      int       `json:"heartbeats"`
	Reports    int       `json:"reports"`
	Asks       int       `json:"questions"`
	Passed     int       `json:"requests_passed_on"`
	TakeOvers  int       `json:"take_overs"`
	Equals     int       `json:"equal_epochs_obeyed"`
	Spares     int       `json:"spares_unloaded"`
	Each       []Summary `json:"each"`
	Violation  string    `json:"violation,omitempty"`
	Steps      int       `json:"steps"`
	VirtualSec float64   `json:"virtual_seconds"`
}

// Summary tells what happened so far.
func (c *Cluster) Summary() ClusterSummary {
	s := ClusterSummary{Hosts: len(c.worlds), Troubles: c.troubles, Beats: c.beats, Reports: c.reports, Asks: c.asks, Passed: c.passed, TakeOvers: c.takeOvers,
		Equals: c.equals, Spares: c.spares, Steps: c.steps, VirtualSec: c.elapsed.Seconds()}
	for _, w := range c.worlds {
		s.Each = append(s.Each, w.Summary())
	}
	if c.broken != nil {
		s.Violation = c.broken.Error()
	}
	return s
}
