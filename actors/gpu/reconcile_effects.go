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
)

// reconcile compares a lease with what its holder says.
type reconcile struct {
	Lease     string
	Holder    messages.ActorID
	Epoch     uint64
	TakenOver bool
	// Arbiter is the host whose arbiter asked for the lease; empty = the one that has the seat, and always has.
	Arbiter string
	// Outdated tells that another arbiter has taken over since.
	Outdated bool
}

func (e reconcile) Key() string { return "reconcile/" + e.Lease }

// Delay implements entity.Delayed.
func (reconcile) Delay() time.Duration { return reconcileAfter }

// Pace implements entity.Paced.
func (reconcile) Pace() (first, longest time.Duration) { return reconcileEvery, reconcileEvery }

// reconcile reports a lease that neither its holder nor the arbiter knows. The arbiter has a lease from before its grant until the holder has
// it, so asking the arbiter first and then the holder misses none. The holder is asked before that as well, because it nearly always has the
// lease. An unanswered question is not a no: the comparison is made again. But an arbiter that can't be asked, after another one took over, may never
// be there again: the holder's no is enough then. A holder that takes the placement later than this checks its lease before it starts a worker, and a check
// makes the report come too late (renewals).
func (p ports) reconcile(ctx context.Context, e reconcile) (proto.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	for _, actor := range []messages.ActorID{e.Holder, messages.ArbiterActor(), e.Holder} {
		holds, err := p.holds(ctx, actor, e)
		if e.Outdated && actor.Kind == messages.KindArbiter && messages.CodeOf(err) == messages.Unavailable {
			continue
		}
		if err != nil || holds {
			return nil, err
		}
	}
	reason := "it was not taken over: neither its holder nor the arbiter knows it"
	if e.TakenOver {
		reason = "its holder had it and doesn't know it any more"
	}
	return &messages.ReportLeaseDiffers{Lease: e.Lease, Holder: e.Holder.String(), Epoch: e.Epoch, Reason: reason}, nil
}

func (p ports) holds(ctx context.Context, actor messages.ActorID, e reconcile) (bool, error) {
	r, err := p.door.Ask(ctx, actor, &messages.QueryHolding{Lease: e.Lease, Epoch: e.Epoch, Arbiter: e.Arbiter})
	if err != nil {
		return false, fmt.Errorf("whether %s has lease %s can't be known: %w", actor, e.Lease, err)
	}
	reply, ok := r.Answer.(*messages.HoldingReply)
	if !ok {
		return false, fmt.Errorf("%s answers %T", actor, r.Answer)
	}
	return reply.Holds, nil
}
