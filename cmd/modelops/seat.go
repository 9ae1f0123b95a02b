package main

import (
	"cmp"
	"context"
	"fmt"

	"modelops/messages"
)

// ownArbiter gives the seat to this host's arbiter, and takes it away. It implements cluster.Arbiter.
type ownArbiter struct {
	host string
	door messages.Door // to the actors of this host
}

// TakeOver implements cluster.Arbiter.
func (a ownArbiter) TakeOver(ctx context.Context, above uint64, members []string) (uint64, error) {
	r, err := a.door.Ask(ctx, messages.ArbiterActor(), &messages.TakeOver{Host: a.host, Above: above, Members: members})
	if err != nil {
		return 0, err
	}
	reply, ok := r.Answer.(*messages.TakeOverReply)
	if !ok {
		return 0, fmt.Errorf("the arbiter answers a take-over with %T", r.Answer)
	}
	return reply.Epoch, nil
}

// StandDown implements cluster.Arbiter. Its loss does no harm: owners refuse what an arbiter without the seat goes on with.
func (a ownArbiter) StandDown(ctx context.Context, seat string) {
	a.door.Tell(ctx, messages.ArbiterActor(), &messages.StandDown{Host: seat})
}

// obeyed is the highest epoch of an arbiter that an owner on this host has obeyed.
func (d *daemon) obeyed() (epoch uint64) {
	for _, v := range d.view.GPUs() {
		if v.Host == d.host {
			epoch = max(epoch, v.ObeyedEpoch)
		}
	}
	for _, v := range d.view.ModelsOf(d.host) {
		epoch = max(epoch, v.ObeyedEpoch)
	}
	return epoch
}

// seatedElsewhere is the host whose arbiter has the seat; empty while it is this one's.
func (d *daemon) seatedElsewhere() string {
	if d.cluster == nil {
		return ""
	}
	if seat := d.cluster.Holder(); seat != d.host {
		return seat
	}
	return ""
}

// closed says why nothing is placed on another host now; empty = it can be.
func (d *daemon) closed(host string) string {
	if d.cluster == nil || host == d.host {
		return ""
	}
	if state, reason := d.cluster.State(host); state != messages.MemberView_alive {
		return "can't be reached: " + cmp.Or(reason, state.String())
	}
	return ""
}
