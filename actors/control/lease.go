package control

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"modelops/actors/arbiter"
	"modelops/messages"
)

// Defaults and words of the legacy contract.
const (
	defaultLease = 30 * time.Second
	leaseRetry   = 250 * time.Millisecond
	noVRAM       = "Insufficient VRAM"
	anonymous    = "unknown"
	// lowestPriority is the legacy contract's lowest; 1 is its highest. Models have the same as the lowest.
	lowestPriority = 5
)

// mostLeaseMB is the largest request whose bytes can be counted; a larger one would be granted as few bytes or none.
const mostLeaseMB = math.MaxInt64 / int64(messages.MiB)

const (
	// leaseWithin bounds the wait for holders that have to leave.
	leaseWithin = 10 * time.Second
	// abandonWithin bounds giving up a placement after the caller has left.
	abandonWithin = 5 * time.Second
)

// AcquireGpuLease reserves memory for a program by the same decision as for models: idle models may have to leave for it, and the journal
// says why it was granted. A lack of memory is an answer, not an error, as in the legacy contract.
func (m Memory) AcquireGpuLease(ctx context.Context, r *messages.GpuLeaseRequest) (*messages.GpuLeaseReply, error) {
	switch {
	case r.VramEstimateMb < 0:
		return nil, invalid("vram_estimate_mb", "it is negative", "say how many MiB are needed")
	case r.VramEstimateMb > mostLeaseMB:
		return nil, invalid("vram_estimate_mb", fmt.Sprintf("%d MiB is too large", r.VramEstimateMb), "say how many MiB are needed")
	case len(r.Client) > messages.LongestOwner:
		return nil, invalid("client", fmt.Sprintf("it is longer than %d bytes", messages.LongestOwner), "name a person or a program")
	case r.TtlSeconds < 0:
		return nil, invalid("ttl_seconds", "it is negative", "leave it out for 30")
	}
	c := &messages.RequestPlacement{Holder: "client/" + cmp.Or(r.Client, anonymous), Owner: messages.CallerFrom(ctx).Mark(), Priority: priorityOf(r.Priority), Claim: &messages.Claim{Id: m.NewID(),
		Needs: []*messages.Need{{Bytes: uint64(r.VramEstimateMb) * messages.MiB, Source: messages.Need_declared}}, TtlSeconds: cmp.Or(uint32(r.TtlSeconds), uint32(defaultLease/time.Second))}}
	p, err := m.reserved(ctx, c)
	switch {
	case messages.CodeOf(err) == messages.GPUUnavailable, err == nil && p == nil:
		return &messages.GpuLeaseReply{Reason: noVRAM, RetryAfterMs: int32(leaseRetry.Milliseconds())}, nil
	case err != nil:
		return nil, err
	}
	_, err = m.Door.Ask(ctx, messages.ArbiterActor(), &messages.ClosePlacement{Id: p.Id, Reason: "taken over by " + c.Holder, TakenOver: true})
	switch {
	case messages.CodeOf(err) == messages.FailedPrecondition: // this caller was too slow, and the memory went back
		return &messages.GpuLeaseReply{Reason: noVRAM, RetryAfterMs: int32(leaseRetry.Milliseconds())}, nil
	case err != nil:
		return nil, err
	}
	return &messages.GpuLeaseReply{Granted: true, LeaseId: p.Shares[0].Lease, VramReservedMb: r.VramEstimateMb}, nil
}

// priorityOf turns the legacy contract's priority, of which 1 is the highest, into the arbiter's.
func priorityOf(legacy int32) int32 {
	if legacy <= 0 {
		return 0
	}
	return max(lowestPriority-legacy, 0)
}

// reserved asks for memory until its owner has reserved it; nil when other holders have it and don't leave in time. It waits for victims that are
// on their way out, and doesn't wait for busy holders.
func (m Memory) reserved(ctx context.Context, c *messages.RequestPlacement) (*messages.Placement, error) {
	within, cancel := context.WithTimeout(ctx, leaseWithin)
	defer cancel()
	var decided *messages.Placement
	for {
		changed := m.Views.Changed() // the arbiter's decisions are changes too
		reply, err := answer[*messages.PlacementReply](m.Door.Ask(within, messages.ArbiterActor(), c))
		switch {
		case err != nil && ctx.Err() == nil && within.Err() == nil:
			return nil, err
		case err == nil && reply.Placement == nil:
			return nil, nil
		case err == nil && !slices.ContainsFunc(reply.Placement.Shares, func(s *messages.Share) bool { return s.Epoch == 0 }):
			return reply.Placement, nil
		case err == nil:
			decided = reply.Placement
		}
		select {
		case <-changed:
		case <-within.Done():
			return nil, m.abandon(ctx, decided)
		}
	}
}

// abandon gives up a placement that came too late for its caller.
func (m Memory) abandon(ctx context.Context, p *messages.Placement) error {
	if p != nil {
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonWithin)
		defer cancel()
		m.Door.Tell(after, messages.ArbiterActor(), &messages.AbandonPlacement{Id: p.Id, Reason: "its caller doesn't wait any longer"})
	}
	if err := ctx.Err(); err != nil {
		return messages.AsError(context.Cause(ctx))
	}
	return nil
}

// ReleaseGpuLease gives a program's lease back. An unknown one counts as given back. A program can't release a lease of an actor, nor one that was
// taken with another key.
func (m Memory) ReleaseGpuLease(ctx context.Context, r *messages.GpuLeaseRelease) (*messages.GpuLeaseReleaseAck, error) {
	for _, g := range m.Views.GPUs() {
		for _, held := range g.Reservations {
			if held.Lease != r.LeaseId {
				continue
			}
			if !arbiter.IsProgram(held.Holder) {
				return nil, messages.Errorf(messages.PermissionDenied, r.LeaseId, "the lease is held by %s", held.Holder).WithHint("modelops unload gives a model's memory back")
			}
			gpu, err := messages.ParseActorID(g.Id)
			if err != nil {
				return nil, err
			}
			if _, err := m.Door.Ask(ctx, gpu, &messages.ReleaseVram{Lease: held.Lease, Holder: held.Holder, Epoch: held.Epoch, Reason: "released by its holder", By: messages.CallerFrom(ctx).MarkedBy()}); err != nil {
				return nil, err
			}
		}
	}
	return &messages.GpuLeaseReleaseAck{Success: true}, nil
}
