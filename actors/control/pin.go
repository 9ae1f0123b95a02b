package control

import (
	"cmp"
	"context"

	"modelops/messages"
)

// anybody is the owner of a pin when neither the request nor the caller has a name.
const anybody = "somebody"

// PinModel keeps a model from eviction.
func (c *Control) PinModel(ctx context.Context, r *messages.PinModelRequest) (*messages.PinModelReply, error) {
	owner := cmp.Or(r.Owner, messages.CallerFrom(ctx).Name, anybody)
	at, err := c.owner(ctx, r.Host, r.ModelName)
	if err != nil {
		return nil, err
	}
	if at != c.o.Host {
		return there[*messages.PinModelReply](ctx, c, at, "PinModel", &messages.PinModelRequest{ModelName: r.ModelName, Owner: owner, TtlSeconds: r.TtlSeconds, Host: at})
	}
	return c.pin(ctx, r.ModelName, &messages.PinModel{Owner: owner, TtlSeconds: r.TtlSeconds})
}

// UnpinModel ends a pin, no matter who owns it.
func (c *Control) UnpinModel(ctx context.Context, r *messages.UnpinModelRequest) (*messages.PinModelReply, error) {
	at, err := c.owner(ctx, r.Host, r.ModelName)
	if err != nil {
		return nil, err
	}
	if at != c.o.Host {
		return there[*messages.PinModelReply](ctx, c, at, "UnpinModel", &messages.UnpinModelRequest{ModelName: r.ModelName, Host: at})
	}
	return c.pin(ctx, r.ModelName, &messages.PinModel{})
}

func (c *Control) pin(ctx context.Context, name string, command *messages.PinModel) (*messages.PinModelReply, error) {
	if name == "" {
		return nil, invalid("model_name", "it is empty", "name the model")
	}
	id, _, err := c.declared(ctx, name, listModels)
	if err != nil {
		return nil, err
	}
	if _, err := c.o.Door.Ask(ctx, id, command); err != nil {
		return nil, err
	}
	v := c.o.View.Model(id) // the actor shows its decision before it answers
	scope := messages.CallerFrom(ctx).Principal.Scope
	shows := func(name string) bool { return scope.Has(c.model(name)) }
	return &messages.PinModelReply{Host: id.Host(), ModelName: id.Name(), PinnedBy: v.GetPinnedBy(), PinnedUntilMs: v.GetPinnedUntilMs(),
		Conflicts: conflicts(v, c.o.View.ModelsOf(id.Host()), c.o.View.GPUs(), c.o.Now(), shows)}, nil
}
