package gpu

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

const (
	// reconcileAfter is when a lease is first compared with its holder. By then nearly every lease is taken over, so that one question is
	// enough, and a start under load asks nothing.
	reconcileAfter = 30 * time.Second
	// reconcileEvery bounds how long a difference goes unnoticed. A question costs some 10 us here and nothing in the journal.
	reconcileEvery = time.Minute
	// askWithin bounds one comparison; without an answer it is made again.
	askWithin = 5 * time.Second
	// handedOver is when a lease of a cluster is first compared, and again after pauses that double: an arbiter that dies after the grant never
	// tells the holder, and no host can place the holder while its memory is reserved.
	handedOver = 2 * time.Second
)

// reconcile compares a lease with what its holder says.
type reconcile struct {
	Lease     string
	Holder    messages.ActorID
	Epoch     uint64
	TakenOver bool
	// Arbiter is the host whose arbiter asked for the lease; empty = the one that has the seat, and always has.
	Arbiter string
	// ArbiterEpoch is that one's epoch.
	ArbiterEpoch uint64
	// Outdated tells that another arbiter has taken over since.
	Outdated bool
}

func (e reconcile) Key() string { return "reconcile/" + e.Lease }

// Delay implements entity.Delayed.
func (e reconcile) Delay() time.Duration {
	if e.grantedFar() {
		return handedOver
	}
	return reconcileAfter
}

// Pace implements entity.Paced.
func (e reconcile) Pace() (first, longest time.Duration) {
	if e.grantedFar() {
		return handedOver, reconcileEvery
	}
	return reconcileEvery, reconcileEvery
}

// grantedFar tells that the arbiter of a cluster has yet to tell the holder, which it can't once its host is dead.
func (e reconcile) grantedFar() bool { return e.Arbiter != "" && !e.TakenOver }

// reconcile reports a lease that neither its holder nor the arbiter knows. The arbiter has a lease from before its grant until the holder has
// it, so asking the arbiter first and then the holder misses none. The holder is asked before that as well, because it nearly always has the
// lease. An unanswered question is not a no: the comparison is made again. But an arbiter that can't be asked, after another one took over, may never
// be there again: the holder's no is enough then. A holder that takes the placement later than this checks its lease before it starts a worker, and a check
// makes the report come too late (renewals).
func (p ports) reconcile(ctx context.Context, e reconcile) (proto.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	for _, actor := range []messages.ActorID{e.Holder, messages.ArbiterActor(), e.Holder} {
		r, err := p.holds(ctx, actor, e.Arbiter, e)
		if actor.Kind == messages.KindArbiter && messages.CodeOf(err) == messages.Unavailable && p.outdated(ctx, e) {
			continue
		}
		if err != nil || r.Holds {
			return nil, err
		}
	}
	reason := "it was not taken over: neither its holder nor the arbiter knows it"
	if e.TakenOver {
		reason = "its holder had it and doesn't know it any more"
	}
	return &messages.ReportLeaseDiffers{Lease: e.Lease, Holder: e.Holder.String(), Epoch: e.Epoch, Reason: reason}, nil
}

// outdated tells whether another arbiter has taken over since the one that asked for the lease. The device learns that with its next grant, which may
// wait for this very lease.
func (p ports) outdated(ctx context.Context, e reconcile) bool {
	if e.Outdated || e.ArbiterEpoch == 0 {
		return e.Outdated
	}
	r, err := p.holds(ctx, messages.ArbiterActor(), "", e)
	return err == nil && r.ArbiterEpoch > e.ArbiterEpoch
}

// holds asks an actor; an arbiter that of a host, or that which has the seat.
func (p ports) holds(ctx context.Context, actor messages.ActorID, arbiter string, e reconcile) (*messages.HoldingReply, error) {
	r, err := p.door.Ask(ctx, actor, &messages.QueryHolding{Lease: e.Lease, Epoch: e.Epoch, Arbiter: arbiter})
	if err != nil {
		return nil, fmt.Errorf("whether %s has lease %s can't be known: %w", actor, e.Lease, err)
	}
	reply, ok := r.Answer.(*messages.HoldingReply)
	if !ok {
		return nil, fmt.Errorf("%s answers %T", actor, r.Answer)
	}
	return reply, nil
}
