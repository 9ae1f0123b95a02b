package natsapi

import (
	"context"

	"modelops/messages"
)

func (a *API) swaps(ctx context.Context, c *call) error {
	return c.reply(a.Control.Swaps(ctx))
}

func (a *API) swap(ctx context.Context, c *call) error {
	r := &messages.SwapModel{}
	if err := parse(c.data, r); err != nil {
		return err
	}
	c.model = r.Name
	return c.reply(a.Control.Swap(ctx, r))
}

func (a *API) promote(ctx context.Context, c *call) (err error) {
	r := &messages.PromoteSwap{}
	if err := c.command(r); err != nil {
		return err
	}
	if r.Name, err = c.nameOf("name", r.Name); err != nil {
		return err
	}
	c.model = r.Name
	return c.reply(a.Control.Promote(ctx, r))
}

func (a *API) rollback(ctx context.Context, c *call) (err error) {
	r := &messages.RollbackSwap{}
	if err := c.command(r); err != nil {
		return err
	}
	if r.Name, err = c.nameOf("name", r.Name); err != nil {
		return err
	}
	c.model = r.Name
	return c.reply(a.Control.Rollback(ctx, r))
}

func (a *API) hint(ctx context.Context, c *call) error {
	r := &messages.HintModelRequest{}
	if err := parse(c.data, r); err != nil {
		return err
	}
	c.model = r.ModelName
	return c.reply(a.Control.HintModel(ctx, r))
}

func (a *API) defrag(ctx context.Context, c *call) error {
	r := &messages.DefragRequest{}
	if err := parse(c.data, r); err != nil {
		return err
	}
	return c.reply(a.Control.Defrag(ctx, r))
}
