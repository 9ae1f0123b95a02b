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
	case c.o.Hosts == nil:
		return nil, c.alone()
	default:
		at, err := c.owner(ctx, r.Host, "")
		if err != nil {
			return nil, err
		}
		return there[*messages.DrainHostReply](ctx, c, at, "DrainHost", r)
	}
	if r.Undo {
		if _, err := c.o.Door.Ask(ctx, c.hostID(), &messages.EndDrain{Reason: "asked to end it"}); err != nil {
			return nil, err
		}
		if err := host.CallBack(ctx, c.o.Host, c.o.Residents, c.o.Door); err != nil {
			return nil, err
		}
		return &messages.DrainHostReply{Host: c.o.Host}, nil
	}
	if _, err := c.o.Door.Ask(ctx, c.hostID(), &messages.StartDrain{Reason: "asked to empty it"}); err != nil {
		return nil, err
	}
	return host.Drained(c.o.Host, c.o.Residents), nil
}
