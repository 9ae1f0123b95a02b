package control

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"

	"modelops/messages"
)

// Cluster is this host's membership in a cluster.
type Cluster interface {
	// View is the cluster as this host sees it now.
	View() *messages.ClusterView
	Invite(ctx context.Context, r *messages.InviteRequest) (*messages.InviteReply, error)
	Remove(ctx context.Context, r *messages.RemoveMemberRequest) (*messages.RemoveMemberReply, error)
}

// GetCluster shows the hosts of the cluster as this one sees them. A host alone is a cluster of one.
func (c *Control) GetCluster(context.Context, *emptypb.Empty) (*messages.ClusterView, error) {
	v := &messages.ClusterView{Host: c.o.Host, Arbiter: c.o.Host, Members: []*messages.MemberView{
		{Host: c.o.Host, Self: true, State: messages.MemberView_alive, Version: c.o.Version, Sequence: c.o.Sequence(), Arbiter: c.o.Host}}}
	if c.o.Cluster != nil {
		v = c.o.Cluster.View()
	}
	if c.o.Hub != nil {
		v.Hub = c.o.Hub()
	}
	return v, nil
}

// InviteHost makes a token with which one other host may join.
func (c *Control) InviteHost(ctx context.Context, r *messages.InviteRequest) (*messages.InviteReply, error) {
	if c.o.Cluster == nil {
		return nil, c.alone()
	}
	return c.o.Cluster.Invite(ctx, r)
}

// RemoveHost forgets a host for good.
func (c *Control) RemoveHost(ctx context.Context, r *messages.RemoveMemberRequest) (*messages.RemoveMemberReply, error) {
	if c.o.Cluster == nil {
		return nil, c.alone()
	}
	return c.o.Cluster.Remove(ctx, r)
}

func (c *Control) alone() error {
	return messages.NewError(messages.FailedPrecondition, "host "+c.o.Host, "it is in no cluster").
		WithHint("make one: modelops cluster init, and then modelops upgrade, which restarts the daemon and keeps the models")
}
