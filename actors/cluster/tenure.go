package cluster

import (
	"context"
	"time"

	"modelops/messages"
)

// Hold gives the seat to this host's arbiter, or takes it away.
func (c *Cluster) Hold(mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held != mine {
		c.held = mine
		c.wake()
	}
}

// hold has this host's arbiter take over and stand down, until ctx ends. It runs beside the heartbeats, which wait for no journal.
func (c *Cluster) hold(ctx context.Context) {
	for c.o.Arbiter != nil && c.until(ctx, true) {
		term, end := context.WithCancel(ctx)
		go func() {
			c.until(term, false)
			end()
		}()
		c.serve(term)
		end()
		c.took(false, 0)
		if ctx.Err() == nil {
			c.o.Arbiter.StandDown(ctx, c.holder())
		}
	}
}

func (c *Cluster) holder() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seat
}

// until waits until this host has the seat, or hasn't; it is false when ctx ended first.
func (c *Cluster) until(ctx context.Context, held bool) bool {
	for {
		c.mu.Lock()
		is, moved := c.held, c.moved
		c.mu.Unlock()
		if is == held {
			return ctx.Err() == nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return false
		}
	}
}

const (
	// tries is the pause between two attempts to take over.
	tries = 100 * time.Millisecond
	// burst take-overs within rivals are the most: arbiters on hosts that reach each other through others only would outbid each other without it.
	burst  = 3
	rivals = 3 * time.Second
)

// serve takes over, and again whenever another arbiter has done so since.
func (c *Cluster) serve(ctx context.Context) {
	var latest []time.Time // take-overs
	rivalled := time.Now() // since when another host that is heard has claimed the seat
	for ctx.Err() == nil {
		b := c.bid()
		if !b.rival {
			rivalled = time.Now()
		}
		pause := look
		if b.wanted && time.Since(rivalled) >= b.grace() && (len(latest) < burst || time.Since(latest[0]) > rivals) {
			if epoch, err := c.o.Arbiter.TakeOver(ctx, b.above, b.members); err == nil {
				c.took(true, epoch)
				latest = append(latest, time.Now())
				latest = latest[max(0, len(latest)-burst):]
			} else {
				c.cant(ctx, err)
				pause = tries
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func (c *Cluster) cant(ctx context.Context, err error) {
	if ctx.Err() == nil && c.o.Log != nil {
		c.o.Log.Warn("this host's arbiter can't take over yet", "error", err)
	}
}

// bid is what this host knows when it is to take over.
type bid struct {
	wanted  bool
	above   uint64 // the epoch
	members []string
	rival   bool // a host that is heard claims the seat: it gives it up as soon as it has heard of this one
}

// grace is how long a rival may take for that.
func (b bid) grace() time.Duration {
	if b.rival {
		return 2 * Settle
	}
	return 0
}

func (c *Cluster) bid() bid {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := bid{above: c.table.Epoch(), members: []string{c.o.Host}, rival: c.table.Rivalled(), wanted: c.table.Mine() && (!c.taken || c.table.Outdated())}
	for _, m := range c.table.Active() {
		b.members = append(b.members, m.Host)
	}
	return b
}

func (c *Cluster) took(taken bool, epoch uint64) {
	c.mu.Lock()
	c.taken = taken
	if taken {
		own := c.table.Own()
		own.Epoch = epoch
		c.table.Set(own)
	}
	c.wake()
	c.mu.Unlock()
	c.Look()
}

// patience is how long a question waits for a take-over.
const patience = time.Second

// Seat is the host whose arbiter to ask now. While this host takes over it waits, a second at most.
func (c *Cluster) Seat(ctx context.Context) string {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		seat, moved := c.seated()
		if moved == nil {
			return seat
		}
		select {
		case <-moved:
		case <-limit.C:
			return seat
		case <-ctx.Done():
			return seat
		}
	}
}

// Holder is the host that has the seat now, without a wait for its take-over.
func (c *Cluster) Holder() string {
	seat, _ := c.seated()
	return seat
}

// seated is the seat now; moved is not nil while this host is about to take over.
func (c *Cluster) seated() (seat string, moved <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.o.Arbiter == nil || c.over || c.seat != c.o.Host || c.taken || !c.table.Ready() {
		return c.seat, nil
	}
	return c.seat, c.moved
}

// Ask asks the arbiter that has the seat: by here when that is this host, else by there. When that host can't be reached, it asks again, for a second at
// most, until the seat has moved. When the seat moves before there is an answer, as from a host that hangs, it asks the next one.
func Ask[T any](ctx context.Context, c *Cluster, here func() (T, error), there func(ctx context.Context, host string) (T, error)) (T, error) {
	for until := time.Now().Add(patience); ; {
		host := c.Seat(ctx)
		if host == c.o.Host {
			return here()
		}
		term, end := c.term(ctx, host)
		answer, err := there(term, host)
		moved := term.Err() != nil && ctx.Err() == nil
		end()
		if err == nil || !moved && (messages.CodeOf(err) != messages.Unavailable || time.Now().After(until)) {
			return answer, err
		}
		select {
		case <-ctx.Done():
			return answer, err
		case <-time.After(look):
		}
	}
}

// term ends when the seat leaves a host.
func (c *Cluster) term(ctx context.Context, host string) (term context.Context, end context.CancelFunc) {
	term, end = context.WithCancel(ctx)
	go func() {
		defer end()
		for {
			c.mu.Lock()
			seat, moved := c.seat, c.moved
			c.mu.Unlock()
			if seat != host {
				return
			}
			select {
			case <-moved:
			case <-term.Done():
				return
			}
		}
	}()
	return term, end
}
