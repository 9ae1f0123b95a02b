package control

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"modelops/actors/host"
	"modelops/messages"
)

// GetStatus shows the host, its devices and its models.
func (c *Control) GetStatus(ctx context.Context, _ *emptypb.Empty) (*messages.StatusView, error) {
	s := &messages.StatusView{Version: c.o.Version, UptimeMs: time.Since(c.began).Milliseconds(), Models: c.o.Gateway.Models(),
		Gpus: c.o.View.ReadGPUs(), JournalSequence: c.o.Sequence(), Host: c.o.View.Host(c.hostID())}
	s.Hints, s.Defrag = c.o.View.Kept(c.o.Now())
	s.Hosts, _ = c.others(ctx)
	return s, nil
}

// GetHealth says whether decisions make progress.
func (c *Control) GetHealth(ctx context.Context, _ *emptypb.Empty) (*messages.HealthReply, error) {
	h := c.o.Gateway.Health()
	said, _ := c.others(ctx)
	return &messages.HealthReply{Host: c.o.Host, Hosts: said, Ok: h.OK, OldestUndecidedMs: int32(h.OldestUndecided.Milliseconds()), JournalLag: uint32(h.JournalLag), Reasons: h.Reasons}, nil
}

// GetVersion shows build and host.
func (c *Control) GetVersion(context.Context, *emptypb.Empty) (*messages.VersionReply, error) {
	return &messages.VersionReply{Version: c.o.Version, Host: c.o.Host}, nil
}

// ListResident shows the models that have a worker or are about to have one, as the gateway sees them now.
func (c *Control) ListResident(ctx context.Context, _ *emptypb.Empty) (*messages.ResidentList, error) {
	said, _ := c.others(ctx)
	return &messages.ResidentList{Hosts: said, Models: slices.DeleteFunc(c.o.Gateway.Models(), func(v *messages.ModelView) bool {
		return v.Phase == messages.ModelView_phase_unknown || v.Phase == messages.ModelView_absent
	})}, nil
}

// GetQueue shows the requests that run and wait on this host, and what other hosts said last of theirs.
func (c *Control) GetQueue(ctx context.Context, _ *emptypb.Empty) (*messages.QueueView, error) {
	q := c.o.Gateway.Queue()
	said, requests := c.others(ctx)
	if len(said) > 0 {
		for _, r := range q.Requests {
			r.Host = c.o.Host
		}
		waitThere(q, said, requests)
		q.Hosts, q.Requests = said, append(q.Requests, requests...)
	}
	return q, nil
}

// waitThere shows as waiting which of this host's requests it has passed on to a worker of another host that has no place for them yet: that worker's host serves
// them in its own order.
func waitThere(q *messages.QueueView, said []*messages.HostSaid, requests []*messages.QueuedRequest) {
	stale := map[string]bool{}
	for _, h := range said {
		stale[h.Host] = h.Stale
	}
	there := map[string]*messages.QueuedRequest{}
	for _, r := range requests {
		if r.Position > 0 && !stale[r.Host] {
			there[r.RequestId] = r
		}
	}
	for _, r := range q.Requests {
		if w := there[r.RequestId]; w != nil && r.Position == 0 && r.Model == messages.BaseOf(w.Model) {
			r.State, r.ExpectedMs, r.WaitsFor = w.State, w.ExpectedMs, fmt.Sprintf("%s at %s, as number %d there", w.WaitsFor, w.Host, w.Position)
			r.WaitedMs += w.WaitedMs
			q.Active--
			q.Queued++
		}
	}
}

// others is what other hosts said last. A host that asks this one wants what is here.
func (c *Control) others(ctx context.Context) ([]*messages.HostSaid, []*messages.QueuedRequest) {
	if c.o.Others == nil || messages.PeerFrom(ctx) != "" {
		return nil, nil
	}
	return c.o.Others()
}

// CancelRequest ends a request that runs or waits, at any door.
func (c *Control) CancelRequest(ctx context.Context, r *messages.CancelRequestRequest) (*messages.CancelRequestReply, error) {
	if r.RequestId == "" {
		return nil, invalid("request_id", "it is empty", "modelops queue lists the requests")
	}
	by := messages.CallerFrom(ctx).Principal
	found, others := c.o.Gateway.Cancel(r.RequestId, by)
	if !found && !others && c.cancelThere(ctx, r) {
		found = true
	}
	if !found && others && by.May(messages.Role_READ) { // who can't see others' requests isn't told of one either
		return nil, messages.Errorf(messages.PermissionDenied, "request "+r.RequestId, "it is another caller's, and ending it needs the role %s", messages.RoleName(messages.Role_OPERATE)).
			WithHint("use a key with that role")
	}
	return &messages.CancelRequestReply{RequestId: r.RequestId, Cancelled: found}, nil
}

// cancelThere ends a request that came in at another host.
func (c *Control) cancelThere(ctx context.Context, r *messages.CancelRequestRequest) bool {
	said, _ := c.others(ctx)
	for _, h := range said {
		if h.Stale {
			continue
		}
		if a, err := there[*messages.CancelRequestReply](ctx, c, h.Host, "CancelRequest", r); err == nil && a.Cancelled {
			return true
		}
	}
	return false
}

// ListHints shows the room that is kept for models.
func (c *Control) ListHints(context.Context, *emptypb.Empty) (*messages.HintList, error) {
	hints, _ := c.o.View.Kept(c.o.Now())
	return &messages.HintList{Hints: hints}, nil
}

// GetConfig shows the configuration in force, without secrets.
func (c *Control) GetConfig(context.Context, *emptypb.Empty) (*messages.ConfigView, error) {
	return c.o.Config()
}

// ApplyConfig reads the configuration again and puts it in force. A bad file changes nothing.
func (c *Control) ApplyConfig(ctx context.Context, r *messages.ApplyConfigRequest) (*messages.ConfigChanges, error) {
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
	}, r.GetDryRun())
}

// StartSwap begins a rollout: another model is to answer a name. It returns before the rollout ends.
func (c *Control) StartSwap(ctx context.Context, r *messages.SwapModel) (*messages.SwapReply, error) {
	if at := c.swapper(ctx, r.To, func(v *messages.ModelView) bool { return v.Name == r.To }); at != c.o.Host {
		return there[*messages.SwapReply](ctx, c, at, "StartSwap", r)
	}
	return c.askHost(ctx, r)
}

// swapper is the host whose names a rollout is about: this one when it declares such a model, else the first that does. What a peer passed on is for this one.
func (c *Control) swapper(ctx context.Context, name string, is func(*messages.ModelView) bool) string {
	if _, v := c.find(name); v.GetSpec() != nil || c.o.Hosts == nil || messages.PeerFrom(ctx) != "" {
		return c.o.Host
	}
	for _, v := range c.o.View.Models() {
		if v.Spec != nil && is(v) && c.o.Hosts.Reached(v.Host) {
			return v.Host
		}
	}
	return c.o.Host
}

// swapped is swapper for a name that leads somewhere already, or is a model's name or alias.
func (c *Control) swapped(ctx context.Context, name string) string {
	if slices.ContainsFunc(c.o.View.Host(c.hostID()).GetSwaps(), func(s *messages.SwapReply) bool { return s.Name == name }) {
		return c.o.Host
	}
	return c.swapper(ctx, name, func(v *messages.ModelView) bool { return v.Name == name || slices.Contains(v.Spec.Aliases, name) })
}

// PromoteSwap ends a trial in the new model's favour.
func (c *Control) PromoteSwap(ctx context.Context, r *messages.PromoteSwap) (*messages.SwapReply, error) {
	if r.Name == "" {
		return nil, invalid("name", "it is empty", "modelops swap lists the swaps")
	}
	if at := c.swapped(ctx, r.Name); at != c.o.Host {
		return there[*messages.SwapReply](ctx, c, at, "PromoteSwap", r)
	}
	return c.askHost(ctx, r)
}

// RollbackSwap ends a trial in the former model's favour, or undoes a finished rollout.
func (c *Control) RollbackSwap(ctx context.Context, r *messages.RollbackSwap) (*messages.SwapReply, error) {
	if r.Name == "" {
		return nil, invalid("name", "it is empty", "modelops swap lists the swaps")
	}
	if at := c.swapped(ctx, r.Name); at != c.o.Host {
		return there[*messages.SwapReply](ctx, c, at, "RollbackSwap", r)
	}
	return c.askHost(ctx, r)
}

func (c *Control) askHost(ctx context.Context, m proto.Message) (*messages.SwapReply, error) {
	return answer[*messages.SwapReply](c.o.Door.Ask(ctx, c.hostID(), m))
}

// ListSwaps shows the routes and the latest rollout of each name.
func (c *Control) ListSwaps(context.Context, *emptypb.Empty) (*messages.SwapList, error) {
	h := c.o.View.Host(c.hostID())
	return &messages.SwapList{Routes: h.GetRoutes(), Swaps: h.GetSwaps()}, nil
}
