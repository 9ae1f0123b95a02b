package control

import (
	"context"

	"modelops/actors/host"
	"modelops/messages"
)

// DrainHost empties a host for a reboot, and says how far that is. A host alone can be drained too.
func (c *Control) DrainHost(ctx context.Context, r *messages.DrainHostRequest) (*messages.DrainHostReply, error) {
	switch {
	case r.Host == "" || r.Host == c.o.Host:
	case c.o.Cluster == nil:
		return nil, c.alone()
	default:
		return c.o.Cluster.Drain(ctx, r)
	}
	command := func() error {
		if r.Undo {
			_, err := c.o.Door.Ask(ctx, c.hostID(), &messages.EndDrain{Reason: "asked to end it"})
			return err
		}
		_, err := c.o.Door.Ask(ctx, c.hostID(), &messages.StartDrain{Reason: "asked to empty it"})
		return err
	}
	if err := command(); err != nil {
		return nil, err
	}
	reply := &messages.DrainHostReply{Host: c.o.Host, Draining: !r.Undo}
	if !r.Undo && c.o.Residents != nil {
		reply.WaitsFor = host.Drain(c.o.Host, c.o.Residents, c.o.View.GPUs())
		reply.Safe = len(reply.WaitsFor) == 0 && !c.reserved()
	}
	return reply, nil
}

// reserved tells whether memory of this host is held, also by what isn't a worker yet or any more.
func (c *Control) reserved() bool {
	for _, d := range c.o.View.GPUs() {
		if d.Host == c.o.Host && len(d.Reservations) > 0 {
			return true
		}
	}
	return false
}
