package control

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// holdersWithin bounds the questions to other hosts about a lease, so that a caller who waits longer hears what came of them.
const holdersWithin = 5 * time.Second

// AcquireGpuLease reserves memory for a program. A host that is none of the cluster's has no devices to wait for.
func (c *Control) AcquireGpuLease(ctx context.Context, r *messages.GpuLeaseRequest) (*messages.GpuLeaseReply, error) {
	if r.Host != "" && r.Host != c.o.Host && (c.o.Hosts == nil || !c.o.Hosts.Has(r.Host)) {
		return nil, messages.NoMember(r.Host)
	}
	return c.Memory.AcquireGpuLease(ctx, r)
}

// ReleaseGpuLease gives a program's lease back, also one that another host has just granted and of which this one hasn't heard. While a host that may hold
// it can't be asked, that is the answer; what the caller wants besides is done all the same.
func (c *Control) ReleaseGpuLease(ctx context.Context, r *messages.GpuLeaseRelease) (*messages.GpuLeaseReleaseAck, error) {
	there, unasked := askHolders(ctx, c, r.LeaseId, "ReleaseGpuLease", &messages.GpuLeaseRelease{LeaseId: r.LeaseId}, (*messages.GpuLeaseReleaseAck).GetReleased)
	if unasked != nil && !isUnasked(unasked) {
		return nil, unasked
	}
	ack, err := c.Memory.ReleaseGpuLease(ctx, r)
	switch {
	case err != nil:
		return nil, err
	case unasked != nil && !ack.Released: // no view has shown it since
		return nil, endsByItself(r.LeaseId, unasked)
	}
	ack.Released = ack.Released || there != nil
	return ack, nil
}

// RenewGpuLease keeps a program's lease, also one that another host has just granted and of which this one hasn't heard.
func (c *Control) RenewGpuLease(ctx context.Context, r *messages.GpuLeaseRenewal) (*messages.GpuLeaseRenewalAck, error) {
	ack, err := askHolders(ctx, c, r.LeaseId, "RenewGpuLease", r, (*messages.GpuLeaseRenewalAck).GetSuccess)
	if ack != nil || err != nil {
		return ack, err
	}
	return c.Memory.RenewGpuLease(ctx, r)
}

// isUnasked tells whether an error means that somebody couldn't be asked, which says nothing about what it holds.
func isUnasked(err error) bool {
	code := messages.CodeOf(err)
	return code == messages.Unavailable || code == messages.DeadlineExceeded
}

// endsByItself adds to the error of who couldn't be asked what becomes of a lease there.
func endsByItself(subject string, err error) error {
	e := *messages.AsError(err)
	e.Subject = cmp.Or(e.Subject, subject)
	e.Message += "; a lease that is held there ends by itself when its time to live is over, unless it is renewed"
	return &e
}

// askHolders asks the other hosts about a lease that no view here shows: views of other hosts come late over a slow link, and after a start. All are asked at
// once, and the first one whose answer says that it holds the lease ends it, because a lease is of one host. A host that can't be asked may hold it, so that
// it isn't unknown. Without an answer and an error no host has it.
func askHolders[A proto.Message](ctx context.Context, c *Control, lease, operation string, request proto.Message, holds func(A) bool) (none A, _ error) {
	if _, held, err := c.programLease(lease); held != nil || err != nil || lease == "" {
		return none, nil
	}
	type said struct {
		host string
		ack  A
		err  error
	}
	hosts := c.members(ctx)
	answers := make(chan said, len(hosts))
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithTimeout(ctx, holdersWithin)
	defer cancel()
	for _, host := range hosts {
		asking.Go(func() {
			ack, err := there[A](ctx, c, host, operation, request)
			answers <- said{host, ack, err}
		})
	}
	var refused error
	unasked := map[string]error{}
	for range hosts {
		switch a := <-answers; {
		case a.err == nil && holds(a.ack):
			return a.ack, nil
		case isUnasked(a.err):
			unasked[a.host] = a.err
		case a.err != nil && messages.CodeOf(a.err) != messages.NotFound:
			refused = cmp.Or(refused, a.err)
		}
	}
	if refused == nil && len(unasked) > 0 {
		refused = noneOfTheOthers(lease, unasked)
	}
	return none, refused
}

// noneOfTheOthers is the error about a lease that may be held by hosts that can't be asked.
func noneOfTheOthers(lease string, unasked map[string]error) error {
	var retry time.Duration
	var hosts []string
	for host, err := range unasked {
		e := messages.AsError(err)
		hosts = append(hosts, host+" can't be asked ("+strings.TrimPrefix(e.Message, "host "+host+" can't be reached: ")+")")
		retry = max(retry, e.Retry)
	}
	slices.Sort(hosts)
	return messages.Errorf(messages.Unavailable, lease, "%s, and no other host has the lease", strings.Join(hosts, " and ")).
		WithHint("modelops cluster shows which hosts are reached").WithRetry(retry)
}

// members are the other hosts that may hold something, whether they are heard or not; none for another host that asks.
func (c *Control) members(ctx context.Context) (hosts []string) {
	if c.o.Cluster == nil || messages.PeerFrom(ctx) != "" {
		return nil
	}
	for _, m := range c.o.Cluster.View().GetMembers() {
		if !m.Self && m.State != messages.MemberView_gone {
			hosts = append(hosts, m.Host)
		}
	}
	return hosts
}
