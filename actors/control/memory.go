package control

import (
	"context"

	"google.golang.org/protobuf/proto"

	"modelops/actors/model"
	"modelops/messages"
)

// needsOf is what a model needs on each host that declares it. measured counts for its own host only. The error says why no host can say
// what it needs.
func (c *Control) needsOf(ctx context.Context, name string) (needs []*messages.Need, groups []string, err error) {
	for _, v := range c.o.View.Models() {
		if v.Name != name || v.Spec == nil {
			continue
		}
		var measured uint64
		for _, bytes := range v.Footprints {
			measured = max(measured, bytes)
		}
		need, failed := model.NeedOf(ctx, c.o.Estimator, v.Spec, measured)
		if failed != nil {
			err = failed
			continue
		}
		need.Host, groups = v.Host, v.Spec.Groups
		needs = append(needs, need)
	}
	switch {
	case len(needs) > 0:
		return needs, groups, nil
	case err != nil:
		return nil, nil, err
	}
	return nil, nil, model.NotFound(messages.ModelActor(c.o.Host, name))
}

// anyHost is a model's name as a holder whose host is still to be chosen.
func anyHost(name string) string { return messages.ModelActor(messages.AnyHost, name).String() }

// HintModel keeps room for a model that will be asked for.
func (c *Control) HintModel(ctx context.Context, r *messages.HintModelRequest) (*messages.HintReply, error) {
	name := c.canonical(r.ModelName)
	needs, _, err := c.needsOf(ctx, name)
	if err != nil {
		return nil, err
	}
	overrule(needs, r.Bytes)
	reply := &messages.HintReply{}
	return reply, c.askArbiter(ctx, &messages.HintPlacement{Holder: anyHost(name), Needs: needs, WithinSeconds: r.WithinSeconds, Owner: r.Owner}, reply)
}

// Defrag plans moves that make one large free block, and carries them out when asked to.
func (c *Control) Defrag(ctx context.Context, r *messages.DefragRequest) (*messages.DefragPlan, error) {
	q := &messages.PlanDefrag{Apply: r.Apply}
	if r.NeedBytes > 0 {
		q.Needs = []*messages.Need{{Bytes: r.NeedBytes}}
	}
	if r.ModelName != "" {
		name := c.canonical(r.ModelName)
		needs, _, err := c.needsOf(ctx, name)
		if err != nil {
			return nil, err
		}
		overrule(needs, r.NeedBytes)
		q.Holder, q.Needs = anyHost(name), needs
	}
	plan := &messages.DefragPlan{}
	return plan, c.askArbiter(ctx, q, plan)
}

// overrule sets what a person says is needed; 0 leaves what is known.
func overrule(needs []*messages.Need, bytes uint64) {
	for _, n := range needs {
		if bytes > 0 {
			n.Bytes = bytes
		}
	}
}

// askArbiter copies the arbiter's answer into reply; a Done leaves it empty.
func (c *Control) askArbiter(ctx context.Context, command, reply proto.Message) error {
	r, err := c.o.Door.Ask(ctx, messages.ArbiterActor(), command)
	if err != nil {
		return err
	}
	if r.Answer.ProtoReflect().Descriptor() == reply.ProtoReflect().Descriptor() {
		proto.Merge(reply, r.Answer)
	}
	return nil
}
