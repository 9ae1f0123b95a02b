package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/host"
	"modelops/bridges/config"
	"modelops/messages"
)

// swapWorld is what the host's swaps touch.
func (d *daemon) swapWorld() host.World {
	return host.World{Door: d.tree, Models: catalogue{d}, Trials: d.gateway}
}

// catalogue shows the models to the host actor.
type catalogue struct{ d *daemon }

// Declared implements host.Models.
func (c catalogue) Declared() []*messages.DeclaredModel {
	var out []*messages.DeclaredModel
	for _, v := range c.d.view.Models() {
		if s := v.Spec; s != nil {
			out = append(out, &messages.DeclaredModel{Name: v.Name, Aliases: s.Aliases, ReplicaOf: s.ReplicaOf, Resident: resident(v), LoadSeconds: s.LoadTimeoutSeconds})
		}
	}
	slices.SortFunc(out, func(a, b *messages.DeclaredModel) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// resident tells whether a model holds memory, or is about to. One that leaves and shall not come back doesn't.
func resident(v *messages.ModelView) bool {
	switch v.Phase {
	case messages.ModelView_phase_unknown, messages.ModelView_absent, messages.ModelView_draining, messages.ModelView_stopping:
		return v.Wanted
	}
	return v.Phase != messages.ModelView_failed
}

// AwaitReady implements host.Models.
func (c catalogue) AwaitReady(ctx context.Context, model string) error {
	v, err := operations{c.d}.await(ctx, messages.ModelActor(c.d.host, model), func(v *messages.ModelView) bool {
		return v.Phase == messages.ModelView_ready || failure(v) != nil || !v.Wanted
	})
	switch {
	case err != nil:
		return err
	case v.Phase == messages.ModelView_ready:
		return nil
	case failure(v) != nil:
		return failure(v)
	}
	return messages.NewError(messages.Unavailable, v.Id, "it was unloaded meanwhile")
}

// Failed implements host.Models.
func (c catalogue) Failed(model string) error {
	return failure(c.d.view.Model(messages.ModelActor(c.d.host, model)))
}

// failure is why a model can't be had: its declaration is withdrawn, or no try is left.
func failure(v *messages.ModelView) error {
	switch {
	case v.GetSpec() == nil:
		return messages.NewError(messages.ModelNotFound, v.GetId(), "its declaration was withdrawn")
	case v.Phase == messages.ModelView_failed:
		return loadError(v)
	}
	return nil
}

// Keeps implements host.Models.
func (c catalogue) Keeps(model string, elsewhere []string) string {
	v := c.d.view.Model(messages.ModelActor(c.d.host, model))
	s := v.GetSpec()
	switch {
	case s == nil:
		return ""
	case s.Pinned || v.PinnedBy != "" && (v.PinnedUntilMs == 0 || v.PinnedUntilMs > c.d.clock.Now().UnixMilli()):
		return "it is pinned"
	case slices.ContainsFunc(c.d.config().Models.Preload, func(p config.Preload) bool { return p.Name == model }):
		return "the configuration preloads it"
	case elsewhere == nil:
		return ""
	}
	for _, alias := range s.Aliases {
		if !slices.Contains(elsewhere, alias) {
			return "it answers " + alias
		}
	}
	return ""
}

// lookAtQueue is how often a queue is looked at until it is empty.
const lookAtQueue = 50 * time.Millisecond

// Calm implements host.Models.
func (c catalogue) Calm(ctx context.Context, model string) error {
	tick := time.NewTicker(lookAtQueue)
	defer tick.Stop()
	for {
		waits := slices.ContainsFunc(c.d.gateway.Models(), func(v *messages.ModelView) bool { return v.Name == model && v.Queued > 0 })
		if !waits {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// hostChanged tells who hears of the host's changes.
func (d *daemon) hostChanged(v *messages.HostView) {
	d.tree.Down(v.GaveUp)
	d.tree.Send(messages.ActorID{Kind: messages.KindGateway, ID: d.host}, v)
}

// withdrawn lets no route lead to a model whose declaration is gone, whoever took it away: the configuration says so before it withdraws,
// others say nothing. Before the host is awake its models aren't all there, and nothing is withdrawn.
func (d *daemon) withdrawn(v *messages.ModelView) {
	if v.Spec != nil || !d.isAwake() {
		return
	}
	leads := func(r *messages.Route) bool { return r.To == v.Name || r.Canary == v.Name }
	swaps := func(s *messages.SwapReply) bool {
		return (s.Phase == messages.SwapReply_preparing || s.Phase == messages.SwapReply_trying) && (s.From == v.Name || s.To == v.Name)
	}
	h := d.view.Host(messages.HostActor(d.host))
	if slices.ContainsFunc(h.GetRoutes(), leads) || slices.ContainsFunc(h.GetSwaps(), swaps) {
		d.tree.Tell(d.life, messages.HostActor(d.host), &messages.ReviewRoutes{Withdrawn: []string{v.Name}})
	}
}

// Swap begins an exchange of the model that answers a name; it goes on by itself.
func (c operations) Swap(ctx context.Context, r *messages.SwapModel) (*messages.SwapReply, error) {
	return c.askSwap(ctx, r)
}

// Promote ends a trial in the new model's favour.
func (c operations) Promote(ctx context.Context, r *messages.PromoteSwap) (*messages.SwapReply, error) {
	return c.askSwap(ctx, r)
}

// Rollback ends a swap in the former model's favour, or takes it back when it is done.
func (c operations) Rollback(ctx context.Context, r *messages.RollbackSwap) (*messages.SwapReply, error) {
	return c.askSwap(ctx, r)
}

func (c operations) askSwap(ctx context.Context, m proto.Message) (*messages.SwapReply, error) {
	r, err := c.d.tree.Ask(ctx, messages.HostActor(c.d.host), m)
	if err != nil {
		return nil, err
	}
	reply, ok := r.Answer.(*messages.SwapReply)
	if !ok {
		return nil, messages.Errorf(messages.Internal, messages.HostActor(c.d.host).String(), "answered with %T", r.Answer)
	}
	return reply, nil
}

// Swaps shows the routes and the latest swaps.
func (c operations) Swaps(context.Context) (*messages.SwapList, error) {
	h := c.d.view.Host(messages.HostActor(c.d.host))
	return &messages.SwapList{Routes: h.GetRoutes(), Swaps: h.GetSwaps()}, nil
}
