package cluster

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"modelops/messages"
)

// Beats sends heartbeats to all hosts to which a link is up.
type Beats interface {
	Beat(h *messages.Heartbeat)
}

// Arbiter is this host's own arbiter.
type Arbiter interface {
	// TakeOver has it place for these hosts, under an epoch above the given one, and returns that epoch once it is written down. It is called again when
	// another arbiter took over meanwhile.
	TakeOver(ctx context.Context, above uint64, members []string) (epoch uint64, err error)
	// StandDown ends that: the arbiter of that host places from now on.
	StandDown(ctx context.Context, seat string)
}

// Peer is a host that is known before it is heard.
type Peer struct{ Host, Address string }

// Options of a cluster. Functions may be called at any time and from any goroutine, and don't wait.
type Options struct {
	Host, BootID string
	// What heartbeats say of this host, now.
	Facts func() Facts
	// Recovered, and being emptied; nil = yes, and no.
	Ready, Draining func() bool
	// The highest epoch of an arbiter that this host's owners have obeyed: a lower one would be refused here; nil = none.
	Obeyed  func() uint64
	Peers   []Peer
	Removed []string
	Beats   Beats
	Links   func() map[string]Link            // nil = nothing is known of the links
	Copied  func(host string) uint64          // nil = nothing is copied
	Changed func(Change)                      // nil = nobody asks
	Arbiter Arbiter                           // nil = nothing takes over
	Actors  func() (address string)           // of protoactor's remote; nil = none runs
	Settle  func(members []Active, mine bool) // has protoactor follow the table; nil = the seat is taken without it
	Now     func() time.Time                  // nil = time.Now
	Log     *slog.Logger
}

// Active is a member that is heard and hears this host.
type Active struct {
	Host, BootID, Actors string
	Generation           uint64
}

// look is the pause between two looks at the table: what only time brings is noticed within it.
const look = 25 * time.Millisecond

// Cluster is the table of members with a clock, heartbeats, and the seat.
type Cluster struct {
	o    Options
	kick chan struct{} // something changed: look at once

	mu     sync.Mutex
	table  *Table
	pulse  Pulse
	over   bool          // this host has left
	moved  chan struct{} // closed, and made anew, when the seat or its holder's readiness changes
	seat   string
	held   bool // this host has the seat
	tenure Term
}

// New makes a cluster. Nothing is sent before Run.
func New(o Options) *Cluster {
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &Cluster{o: o, kick: make(chan struct{}, 1), moved: make(chan struct{})}
	c.table = NewTable(c.own(), o.Now())
	for _, host := range o.Removed {
		c.table.Remove(host)
	}
	for _, p := range o.Peers {
		c.table.Expect(p.Host, p.Address)
	}
	c.seat = c.table.Seat()
	return c
}

func (c *Cluster) own() Own {
	own := Own{Host: c.o.Host, Boot: c.o.BootID, Ready: c.o.Ready == nil || c.o.Ready(), Draining: c.o.Draining != nil && c.o.Draining()}
	if c.o.Obeyed != nil {
		own.Obeyed = c.o.Obeyed()
	}
	return own
}

// Hear takes a heartbeat of a member.
func (c *Cluster) Hear(h *messages.Heartbeat) {
	c.mu.Lock()
	c.table.Hear(h, c.o.Now())
	c.mu.Unlock()
	c.Look()
}

// Look has the table looked at now: something that heartbeats tell has changed.
func (c *Cluster) Look() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// Run keeps the table, sends heartbeats and moves the seat until ctx ends. Then it says that this host leaves.
func (c *Cluster) Run(ctx context.Context) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	var arbiter sync.WaitGroup
	arbiter.Go(func() { c.hold(ctx) })
	defer arbiter.Wait()
	defer c.leave()
	for {
		c.turn(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-c.kick:
		}
	}
}

// turn is one look at the table.
func (c *Cluster) turn(ctx context.Context) {
	var links map[string]Link
	if c.o.Links != nil {
		links = c.o.Links()
	}
	own, facts := c.own(), c.facts()
	c.mu.Lock()
	now := c.o.Now()
	own.Epoch = c.table.Own().Epoch
	c.table.Set(own)
	for host, l := range links {
		if c.table.Link(host, l) {
			c.pulse.Anew()
		}
	}
	c.table.Tick(now)
	changes := c.table.Changes()
	beat := c.pulse.Due(c.table, facts, now)
	members, mine := c.table.Active(), c.table.Mine()
	c.move()
	c.mu.Unlock()

	if beat != nil {
		c.o.Beats.Beat(beat)
	}
	c.tell(ctx, changes)
	if c.o.Settle != nil {
		c.o.Settle(members, mine)
	} else {
		c.Hold(mine)
	}
}

func (c *Cluster) facts() (f Facts) {
	if c.o.Facts != nil {
		f = c.o.Facts()
	}
	if c.o.Actors != nil {
		f.Actors = c.o.Actors()
	}
	return f
}

// move wakes who waits for the seat when it moved.
func (c *Cluster) move() {
	if seat := c.table.Seat(); seat != c.seat {
		c.seat = seat
		c.wake()
	}
}

func (c *Cluster) wake() {
	close(c.moved)
	c.moved = make(chan struct{})
}

func (c *Cluster) tell(ctx context.Context, changes []Change) {
	for _, x := range changes {
		level := slog.LevelInfo
		if x.To == messages.MemberView_unreachable {
			level = slog.LevelWarn
		}
		if c.o.Log != nil {
			c.o.Log.Log(ctx, level, "a host of the cluster is "+x.To.String(), "host", x.Host, "was", x.From.String(), "reason", x.Reason)
		}
		if c.o.Changed != nil {
			c.o.Changed(x)
		}
	}
}

// leave tells the others that this host ends now.
func (c *Cluster) leave() {
	f := c.facts()
	c.mu.Lock()
	c.over = true
	h := c.table.Beat(f, c.o.Now())
	c.mu.Unlock()
	h.Leaving = true
	c.o.Beats.Beat(h)
}

// View is the cluster as this host sees it now.
func (c *Cluster) View() *messages.ClusterView {
	f := c.facts()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.table.View(f, c.o.Copied, c.o.Now())
}

// Remove forgets a member on this host.
func (c *Cluster) Remove(host string) {
	c.mu.Lock()
	c.table.Remove(host)
	c.mu.Unlock()
	c.Look()
}

// Admit lets a host in, also one that was removed before.
func (c *Cluster) Admit(host, address string) {
	c.mu.Lock()
	c.table.Admit(host, address)
	c.mu.Unlock()
	c.Look()
}

// SeatActors is where the seat's actor is reached: the address of its host's protoactor remote; empty = it has none.
func (c *Cluster) SeatActors() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seat == c.o.Host && c.o.Actors != nil {
		return c.o.Actors()
	}
	if m := c.table.members[c.seat]; m != nil && m.beat != nil {
		return m.beat.ActorsAddress
	}
	return ""
}

// WhoseActors is the member that told an address of its protoactor remote; empty = none.
func (c *Cluster) WhoseActors(address string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.table.sorted() {
		if m.beat != nil && m.beat.ActorsAddress == address {
			return m.host
		}
	}
	return ""
}

// State tells whether a member is heard now, and why not.
func (c *Cluster) State(host string) (State, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.table.State(host, c.o.Now())
}
