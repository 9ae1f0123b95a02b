package control

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/host"
	"modelops/messages"
)

// Status shows the host.
func (c *Control) Status(context.Context) (*messages.StatusView, error) {
	s := &messages.StatusView{Version: c.o.Version, UptimeMs: time.Since(c.began).Milliseconds(), Models: c.o.Gateway.Models(),
		Gpus: c.o.View.ReadGPUs(), JournalSequence: c.o.Sequence(), Host: c.o.View.Host(c.hostID())}
	s.Hints, s.Defrag = c.o.View.Kept(c.o.Now())
	return s, nil
}

// Queue lists the requests that run and wait on this host.
func (c *Control) Queue(context.Context) (*messages.QueueView, error) {
	return c.o.Gateway.Queue(), nil
}

// ApplyConfig reads the configuration again and makes it rule; dry only says what would change. A bad file changes nothing.
func (c *Control) ApplyConfig(ctx context.Context, dry bool) (*messages.ConfigChanges, error) {
	if c.o.Reread == nil {
		return nil, messages.NewError(messages.FailedPrecondition, "configuration", "this daemon runs on a configuration that is in no file")
	}
	return c.o.Reconciler.Apply(ctx, func() (host.Configuration, error) {
		next, err := c.o.Reread()
		if err != nil {
			return next, messages.Errorf(messages.InvalidArgument, "configuration", "it has mistakes, and nothing was changed: %w", err).
				WithHint("modelops config check shows them")
		}
		return next, nil
	}, dry)
}

// Swap begins an exchange of the model that answers a name; it goes on by itself.
func (c *Control) Swap(ctx context.Context, r *messages.SwapModel) (*messages.SwapReply, error) {
	return c.askHost(ctx, r)
}

// Promote ends a trial in the new model's favour.
func (c *Control) Promote(ctx context.Context, r *messages.PromoteSwap) (*messages.SwapReply, error) {
	return c.askHost(ctx, r)
}

// Rollback ends an exchange in the former model's favour, or takes it back when it is done.
func (c *Control) Rollback(ctx context.Context, r *messages.RollbackSwap) (*messages.SwapReply, error) {
	return c.askHost(ctx, r)
}

func (c *Control) askHost(ctx context.Context, m proto.Message) (*messages.SwapReply, error) {
	return answer[*messages.SwapReply](c.o.Door.Ask(ctx, c.hostID(), m))
}

// Swaps shows the routes and the latest exchanges.
func (c *Control) Swaps(context.Context) (*messages.SwapList, error) {
	h := c.o.View.Host(c.hostID())
	return &messages.SwapList{Routes: h.GetRoutes(), Swaps: h.GetSwaps()}, nil
}
