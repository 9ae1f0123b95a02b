package job

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// The work that a job owes the owners of its devices.
type (
	giveBack struct{ Placement *messages.Placement }
	verify   struct { // compare the leases with what their owners say
		Placement *messages.Placement
		Attempt   uint64
	}
)

const (
	// verifyAfter is when leases are first compared, also soon after an attempt is adopted.
	verifyAfter = 5 * time.Second
	// verifyEvery bounds how long an attempt may run on a lost lease. A question costs some 10 us here and nothing in the journal.
	verifyEvery = time.Minute
)

func (e giveBack) Key() string { return "return/" + e.Placement.Id }
func (e verify) Key() string   { return fmt.Sprintf("verify/%d", e.Attempt) }

// Delay implements entity.Delayed.
func (verify) Delay() time.Duration { return verifyAfter }

// Pace implements entity.Paced.
func (verify) Pace() (first, longest time.Duration) { return verifyEvery, verifyEvery }

// Pace implements entity.Paced: a driver that doesn't answer is asked again soon after each try's end.
func (giveBack) Pace() (first, longest time.Duration) { return 100 * time.Millisecond, 5 * time.Second }

// giveBack gives the memory of an ended attempt back once it is seen to be free: the driver counts it for some time after a process's end.
// While a driver doesn't answer, the lease stays.
func (h ports) giveBack(ctx context.Context, e giveBack) (proto.Message, error) {
	if h.free != nil {
		if err := h.free(ctx, e.Placement); err != nil {
			return nil, err
		}
	}
	for _, share := range e.Placement.Shares {
		_, err := h.door.Ask(ctx, gpuOf(share.Gpu), &messages.ReleaseVram{Lease: share.Lease, Holder: e.Placement.Holder, Epoch: share.Epoch, Reason: "its attempt is over"})
		if err != nil && !lost(err) {
			return nil, err
		}
	}
	return &messages.ReportJobLeaseReturned{Placement: e.Placement.Id}, nil
}

// verify reports the first lease of a placement that its owner doesn't know any more, or granted to another. An owner that can't be asked is
// asked again: only its answer counts.
func (h ports) verify(ctx context.Context, e verify) (proto.Message, error) {
	for _, share := range e.Placement.Shares {
		r, err := h.door.Ask(ctx, gpuOf(share.Gpu), &messages.CheckLease{Lease: share.Lease, Holder: e.Placement.Holder, Epoch: share.Epoch})
		if err != nil {
			return nil, fmt.Errorf("whether lease %s holds can't be known: %w", share.Lease, err)
		}
		reason := ""
		switch reply, _ := r.Answer.(*messages.LeaseReply); reply.GetState() {
		case messages.LeaseReply_gone:
			reason = share.Gpu + " doesn't know it"
		case messages.LeaseReply_fenced:
			reason = share.Gpu + " granted it to another"
		default:
			continue
		}
		return &messages.ReportJobLeaseLost{Attempt: e.Attempt, Lease: share.Lease, Epoch: share.Epoch, Reason: reason}, nil
	}
	return nil, nil
}

// lost tells that an owner doesn't know a lease any more, or holds it for another holder: there is nothing to change any more.
func lost(err error) bool {
	code := messages.CodeOf(err)
	return code == messages.NotFound || code == messages.FailedPrecondition
}

func gpuOf(gpu string) messages.ActorID {
	id, err := messages.ParseActorID(gpu)
	if err != nil {
		panic(err) // takes refused every placement whose devices have no names
	}
	return id
}
