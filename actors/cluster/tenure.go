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
		c.ended()
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

// tries is the pause between two attempts to take over.
const tries = 100 * time.Millisecond

// serve takes over, and again whenever another arbiter has done so since.
func (c *Cluster) serve(ctx context.Context) {
	c.mu.Lock()
	c.tenure.Begin(time.Now())
	c.mu.Unlock()
	for ctx.Err() == nil {
		pause := look
		if b, due := c.bid(); due {
			if epoch, err := c.o.Arbiter.TakeOver(ctx, b.Above, b.Members); err == nil {
				c.took(epoch)
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

func (c *Cluster) bid() (Bid, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tenure.Due(c.table, time.Now())
}

func (c *Cluster) took(epoch uint64) {
	c.mu.Lock()
	c.tenure.Took(c.table, epoch, time.Now())
	c.wake()
	c.mu.Unlock()
	c.Look()
}

// ended ends a term.
func (c *Cluster) ended() {
	c.mu.Lock()
	c.tenure.End()
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
	if c.o.Arbiter == nil || c.over || c.seat != c.o.Host || c.tenure.Taken() || !c.table.Ready() {
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
