package model

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// The work that a model owes the owners of its devices.
type (
	settle struct {
		Placement *messages.Placement
		Measured  uint64
		Attempt   uint64
	}
	shrink struct { // a sleeping worker's memory goes back
		Placement *messages.Placement
		Bytes     uint64
		Attempt   uint64
	}
	giveBack struct{ Placement *messages.Placement }
	verify   struct { // compare the leases with what their owners say
		Placement *messages.Placement
		Attempt   uint64
	}
)

const (
	// verifyAfter is when leases are first compared: after a cold start is over, and soon after a worker is adopted.
	verifyAfter = 5 * time.Second
	// verifyEvery bounds how long a worker may run on a lost lease. A question costs some 10 us here and nothing in the journal.
	verifyEvery = time.Minute
)

func (e settle) Key() string   { return fmt.Sprintf("settle/%d/%d", e.Attempt, e.Measured) }
func (e shrink) Key() string   { return fmt.Sprintf("shrink/%d/%d", e.Attempt, e.Bytes) }
func (e giveBack) Key() string { return "return/" + e.Placement.Id }
func (e verify) Key() string   { return fmt.Sprintf("verify/%d", e.Attempt) }

// Delay implements entity.Delayed.
func (verify) Delay() time.Duration { return verifyAfter }

// Pace implements entity.Paced.
func (verify) Pace() (first, longest time.Duration) { return verifyEvery, verifyEvery }

// settle tells the owner of each device what the worker was measured to hold there.
func (h ports) settle(ctx context.Context, e settle) (proto.Message, error) {
	held := h.heldOnEach(ctx, e)
	for i, share := range e.Placement.Shares {
		_, err := h.door.Ask(ctx, gpuOf(share.Gpu), &messages.SettleVram{Lease: share.Lease, Holder: e.Placement.Holder, Epoch: share.Epoch, MeasuredBytes: held[i]})
		if err != nil && !lost(err) {
			return nil, err
		}
	}
	return &messages.ReportLeaseSettled{Attempt: e.Attempt}, nil
}

// heldOnEach is what a worker was measured to hold of each device of its placement; without figures for each, equal parts.
func (h ports) heldOnEach(ctx context.Context, e settle) []uint64 {
	n := len(e.Placement.Shares)
	if n == 1 {
		return []uint64{e.Measured}
	}
	if h.held != nil {
		if held := h.held(ctx, e.Placement); len(held) == n {
			return held
		}
	}
	return slices.Repeat([]uint64{e.Measured / uint64(n)}, n)
}

func (h ports) shrink(ctx context.Context, e shrink) (proto.Message, error) {
	if err := h.resize(ctx, e.Placement, e.Bytes); err != nil && !lost(err) {
		return nil, err
	}
	return &messages.ReportLeaseSettled{Attempt: e.Attempt}, nil
}

// resize tells the owners of a placement's devices that its leases hold another amount, each its part. A share without bytes stays as it
// is.
func (h ports) resize(ctx context.Context, p *messages.Placement, bytes uint64) error {
	if p.Bytes() == 0 {
		return nil
	}
	part := max(bytes/uint64(len(p.Shares)), 1)
	for _, share := range p.Shares {
		if _, err := h.door.Ask(ctx, gpuOf(share.Gpu), &messages.ResizeVram{Lease: share.Lease, Holder: p.Holder, Epoch: share.Epoch, Bytes: part}); err != nil {
			return err
		}
	}
	return nil
}

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
		_, err := h.door.Ask(ctx, gpuOf(share.Gpu), &messages.ReleaseVram{Lease: share.Lease, Holder: e.Placement.Holder, Epoch: share.Epoch, Reason: "its worker is gone"})
		if err != nil && !lost(err) {
			return nil, err
		}
	}
	return &messages.ReportLeaseReturned{Placement: e.Placement.Id}, nil
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
		return &messages.ReportLeaseLost{Attempt: e.Attempt, Lease: share.Lease, Epoch: share.Epoch, Reason: reason}, nil
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
