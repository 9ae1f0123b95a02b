package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"modelops/actors/cluster"
	"modelops/actors/host"
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

// residents are the models and devices of all hosts, for drains and fail-over.
type residents struct{ d *daemon }

// Models implements host.Residents. A model that is another file on another host isn't the same model.
func (r residents) Models() []*messages.ModelView {
	return slices.DeleteFunc(r.d.ledgers().AllModels(), func(v *messages.ModelView) bool { return r.d.apart(messages.BaseOf(v.Name), v.Host) != nil })
}

// Devices implements host.Residents.
func (r residents) Devices() []*messages.GpuView { return r.d.view.GPUs() }

// Jobs implements host.Residents.
func (r residents) Jobs(host string) []*messages.JobView { return r.d.view.LiveJobsOf(host) }

// Now implements host.Residents.
func (r residents) Now() time.Time { return r.d.clock.Now() }

// Closed implements host.Residents.
func (r residents) Closed(host string) string {
	if r.emptied(host) {
		return "is being emptied"
	}
	return r.d.closed(host)
}

func (r residents) emptied(host string) bool {
	return r.d.view.Host(messages.HostActor(host)).GetDraining()
}

// draining tells whether this host is being emptied.
func (d *daemon) draining() bool {
	return residents{d}.emptied(d.host)
}

// failsOver loads here what a host that can't be reached any more had, when this is the host to do it. A model that nobody could load meanwhile is loaded when a
// request waits for it. When the other is back, its own worker serves again, and spares ends one of the two.
func (d *daemon) failsOver(c cluster.Change) {
	if c.From != messages.MemberView_alive || c.To != messages.MemberView_unreachable && c.To != messages.MemberView_gone {
		return
	}
	r := residents{d}
	for _, name := range host.TakesOver(d.host, c.Host, r.Models(), r.Closed) {
		d.tree.Tell(d.life, messages.ModelActor(d.host, name), &messages.EnsureModel{Reason: c.Host + " can't be reached, and had it", OnDemand: true})
	}
}

// sparesEvery is how often models are looked for that another host has too.
const sparesEvery = time.Second

// spares has idle models leave this host that another one has too, since it was lost for a while or a split healed.
func (d *daemon) spares(ctx context.Context) {
	for tick := time.NewTicker(sparesEvery); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
		r := residents{d}
		for _, l := range host.Spares(d.host, r.Models(), r.Closed) {
			if _, err := d.tree.Ask(ctx, messages.ModelActor(d.host, l.Model), l.Preempt); err != nil {
				d.log.Debug("a model that another host has too doesn't leave", "model", l.Model, "error", err)
			}
		}
	}
}
