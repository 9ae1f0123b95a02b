package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
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
	// longestLeaseWait bounds one request's wait in line.
	longestLeaseWait = time.Hour
	// askAgain is the longest pause between two questions of a program that waits.
	askAgain = time.Second
	// placementPause is the pause between two questions about a placement that isn't reserved yet: what another host's arbiter decides changes no view here.
	placementPause = 100 * time.Millisecond
	// abandonWithin bounds giving up a placement after the caller has left.
	abandonWithin = 5 * time.Second
)

// AcquireGpuLease reserves memory for a program by the same decision as for models: idle models may have to leave for it, and the journal
// says why it was granted. A lack of memory is an answer, not an error, as in the legacy contract. With a time to wait the program has a place in
// line, which it keeps when it asks again with the same claim.
func (m Memory) AcquireGpuLease(ctx context.Context, r *messages.GpuLeaseRequest) (*messages.GpuLeaseReply, error) {
	c, err := m.leaseClaim(ctx, r)
	if err != nil {
		return nil, err
	}
	if r.Claim == "" || r.WaitSeconds == 0 { // nobody comes back to a place whose claim it doesn't know, or after its last question, and others would wait for it
		defer m.Line.leave(c.Claim.Id)
	}
	p, waitsFor, err := m.inTurn(ctx, c, time.Duration(r.WaitSeconds)*time.Second)
	switch {
	case err == nil && p == nil:
		return &messages.GpuLeaseReply{Reason: noVRAM, RetryAfterMs: int32(leaseRetry.Milliseconds()), WaitsFor: waitsFor, Position: m.place(c.Claim.Id)}, nil
	case messages.CodeOf(err) == messages.GPUUnavailable:
		m.Line.leave(c.Claim.Id)
		return &messages.GpuLeaseReply{Reason: noVRAM, RetryAfterMs: int32(leaseRetry.Milliseconds()), WaitsFor: messages.AsError(err).Message,
			NeverFits: messages.AsError(err).Retry == 0}, nil
	case err != nil:
		return nil, err
	}
	m.Line.leave(c.Claim.Id)
	if !messages.CallerFrom(ctx).IsHere() { // nobody would hold it, and it would be gone for a time to live
		return nil, cmp.Or(m.abandon(ctx, p), error(messages.NewError(messages.Cancelled, c.Holder, "the caller went away while it waited for memory")))
	}
	_, err = m.Door.Ask(ctx, messages.ArbiterActor(), &messages.ClosePlacement{Id: p.Id, Reason: "taken over by " + c.Holder, TakenOver: true})
	switch {
	case messages.CodeOf(err) == messages.FailedPrecondition: // this caller was too slow, and the memory went back
		return &messages.GpuLeaseReply{Reason: noVRAM, RetryAfterMs: int32(leaseRetry.Milliseconds())}, nil
	case err != nil:
		return nil, err
	}
	share := p.Shares[0]
	return &messages.GpuLeaseReply{Granted: true, LeaseId: share.Lease, VramReservedMb: r.VramEstimateMb, Host: p.Host, Gpu: share.Gpu, Epoch: share.Epoch,
		TtlSeconds: int32(c.Claim.TtlSeconds), Env: m.bindings(p), Displaced: p.Victims, Placement: p.Id}, nil
}

// leaseClaim checks what a program asks for.
func (m Memory) leaseClaim(ctx context.Context, r *messages.GpuLeaseRequest) (*messages.RequestPlacement, error) {
	switch {
	case r.VramEstimateMb < 0:
		return nil, invalid("vram_estimate_mb", "it is negative", "say how many MiB are needed")
	case r.VramEstimateMb > mostLeaseMB:
		return nil, invalid("vram_estimate_mb", fmt.Sprintf("%d MiB is too large", r.VramEstimateMb), "say how many MiB are needed")
	case len(r.Client) > messages.LongestOwner:
		return nil, invalid("client", fmt.Sprintf("it is longer than %d bytes", messages.LongestOwner), "name a person or a program")
	case len(r.Claim) > messages.LongestOwner:
		return nil, invalid("claim", fmt.Sprintf("it is longer than %d bytes", messages.LongestOwner), "a UUID will do")
	case r.TtlSeconds < 0:
		return nil, invalid("ttl_seconds", "it is negative", "leave it out for 30")
	case r.WaitSeconds > uint32(longestLeaseWait/time.Second):
		return nil, invalid("wait_seconds", fmt.Sprintf("it is more than %d", longestLeaseWait/time.Second), "ask again with the same claim: its place in line is kept")
	}
	priority := priorityOf(r.Priority)
	if r.Class != "" {
		rank, err := m.rankOf(r.Class)
		if err != nil {
			return nil, err
		}
		priority = rank
	}
	return &messages.RequestPlacement{Holder: "client/" + cmp.Or(r.Client, anonymous), Owner: messages.CallerFrom(ctx).Mark(), Priority: priority,
		Claim: &messages.Claim{Id: cmp.Or(r.Claim, m.NewID()), TtlSeconds: cmp.Or(uint32(r.TtlSeconds), uint32(defaultLease/time.Second)),
			Needs: []*messages.Need{{Host: r.Host, Bytes: uint64(r.VramEstimateMb) * messages.MiB, Source: messages.Need_declared}}}}, nil
}

// rankOf is the priority of a class among holders of memory: models have that of the default class, 0.
func (m Memory) rankOf(class string) (int32, error) {
	classes, usual := m.Classes()
	at := slices.Index(classes, class)
	if at < 0 {
		return 0, invalid("class", "there is no priority class "+class, "the classes are "+strings.Join(classes, ", "))
	}
	return int32(slices.Index(classes, usual) - at), nil
}

// bindings are the variables that bind a program to the devices of its placement. A program with memory of no real GPU sees none that it could take by
// mistake: a simulated device is shown by its number, a processor as no device.
func (m Memory) bindings(p *messages.Placement) (env []string) {
	if m.DeviceEnv != nil {
		env = m.DeviceEnv(p)
	}
	switch gpu, err := messages.ParseActorID(p.Shares[0].Gpu); {
	case err == nil && p.DeviceKind == "simulated":
		name := gpu.Name()
		env = append(env, "CUDA_VISIBLE_DEVICES="+name[len(strings.TrimRight(name, "0123456789")):])
	case p.DeviceKind == "cpu":
		env = append(env, "CUDA_VISIBLE_DEVICES=")
	}
	return env
}

// priorityOf turns the legacy contract's priority, of which 1 is the highest, into the arbiter's.
func priorityOf(legacy int32) int32 {
	if legacy <= 0 {
		return 0
	}
	return max(lowestPriority-legacy, 0)
}

// inTurn asks for memory for as long as its caller waits, and keeps the caller's place in line. Without a placement it says what it waits for.
func (m Memory) inTurn(ctx context.Context, c *messages.RequestPlacement, wait time.Duration) (p *messages.Placement, waitsFor string, err error) {
	over := time.NewTimer(wait)
	defer over.Stop()
	again := time.NewTicker(askAgain) // a holder's idle time isn't a change of any view
	defer again.Stop()
	here := messages.CallerFrom(ctx).IsHere
	if wait > 0 {
		m.Line.enter(c, m.now())
		defer func() { m.Line.answered(c.Claim.Id, !here() || errors.Is(ctx.Err(), context.Canceled), m.now()) }()
	}
	for {
		changed := m.Views.Changed()
		away := wait > 0 && !here()
		m.Line.absent(c.Claim.Id, away) // others don't wait for one that is away, which keeps its place in case that it reconnects
		if !away {
			p, said, err := m.reserved(ctx, c)
			if p != nil || err != nil || wait == 0 {
				return p, said, err
			}
			waitsFor = said
		}
		select {
		case <-changed:
		case <-again.C:
		case <-over.C:
			return nil, waitsFor, nil
		case <-ctx.Done():
			return nil, "", messages.AsError(context.Cause(ctx))
		}
	}
}

// place is a claim's place in line from 1 among all programs that wait, here and at other hosts; 0 when it has none.
func (m Memory) place(claim string) uint32 {
	at := m.Line.position(claim, m.now())
	if at > 0 && m.Elsewhere != nil {
		at += m.Line.ahead(claim, m.Elsewhere(), m.now())
	}
	return uint32(at)
}

// now is the time by which places in line are kept.
func (m Memory) now() time.Time {
	if m.Now == nil {
		return time.Now()
	}
	return m.Now()
}

// reserved asks for memory until its owner has reserved it; nil, and the reason, when other holders have it and don't leave in time. It waits for
// victims that are on their way out, and doesn't wait for busy holders.
func (m Memory) reserved(ctx context.Context, c *messages.RequestPlacement) (p *messages.Placement, waitsFor string, err error) {
	within, cancel := context.WithTimeout(ctx, leaseWithin)
	defer cancel()
	again := time.NewTicker(placementPause)
	defer again.Stop()
	var decided *messages.Placement
	for {
		changed := m.Views.Changed() // the own arbiter's decisions are changes too
		reply, err := answer[*messages.PlacementReply](m.Door.Ask(within, messages.ArbiterActor(), c))
		switch {
		case err != nil && ctx.Err() == nil && within.Err() == nil:
			return nil, "", err
		case err == nil && reply.Placement == nil:
			return nil, reply.WaitsFor, nil
		case err == nil && !slices.ContainsFunc(reply.Placement.Shares, func(s *messages.Share) bool { return s.Epoch == 0 }):
			return reply.Placement, "", nil
		case err == nil:
			decided = reply.Placement
		}
		select {
		case <-changed:
		case <-again.C:
		case <-within.Done():
			return nil, "holders that were asked to leave haven't left", m.abandon(ctx, decided)
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

// RenewGpuLease keeps a program's lease for another time to live. Its owner refuses a lease that has ended, and one of another epoch.
func (m Memory) RenewGpuLease(ctx context.Context, r *messages.GpuLeaseRenewal) (*messages.GpuLeaseRenewalAck, error) {
	gpu, held, err := m.programLease(r.LeaseId)
	switch {
	case err != nil:
		return nil, err
	case held == nil:
		return nil, messages.NewError(messages.NotFound, r.LeaseId, "the lease is unknown: it expired, was released, or never was").WithHint("ask for the memory again")
	}
	_, err = m.Door.Ask(ctx, gpu, &messages.RenewLease{Lease: held.Lease, Holder: held.Holder, Epoch: cmp.Or(r.Epoch, held.Epoch), By: messages.CallerFrom(ctx).MarkedBy()})
	if err != nil {
		return nil, err
	}
	return &messages.GpuLeaseRenewalAck{Success: true, TtlSeconds: int32(held.TtlSeconds)}, nil
}

// programLease finds a lease and its device; held is nil when no ledger has it. A lease of an actor is no program's.
func (m Memory) programLease(lease string) (gpu messages.ActorID, held *messages.Reservation, err error) {
	for _, g := range m.Views.GPUs() {
		for _, r := range g.Reservations {
			if r.Lease != lease {
				continue
			}
			if !arbiter.IsProgram(r.Holder) {
				return gpu, nil, messages.Errorf(messages.PermissionDenied, lease, "the lease is held by %s", r.Holder).WithHint("modelops unload gives a model's memory back")
			}
			gpu, err = messages.ParseActorID(g.Id)
			return gpu, r, err
		}
	}
	return gpu, nil, nil
}

// ReleaseGpuLease gives a program's lease back. An unknown one counts as given back. A program can't release a lease of an actor, nor one that was
// taken with another key. Models that left for the lease come back when the caller names them, unless they were unloaded by hand since: also when the
// lease's owner can't be asked, because the lease ends by itself and nobody asks for them again.
func (m Memory) ReleaseGpuLease(ctx context.Context, r *messages.GpuLeaseRelease) (*messages.GpuLeaseReleaseAck, error) {
	gpu, held, err := m.programLease(r.LeaseId)
	if err != nil {
		return nil, err
	}
	if held != nil {
		_, err = m.Door.Ask(ctx, gpu, &messages.ReleaseVram{Lease: held.Lease, Holder: held.Holder, Epoch: held.Epoch, Reason: "released by its holder", By: messages.CallerFrom(ctx).MarkedBy()})
		if err != nil && !isUnasked(err) {
			return nil, err
		}
	}
	for _, holder := range r.Restore {
		id, err := messages.ParseActorID(holder)
		if err != nil || id.Kind != messages.KindModel {
			return nil, invalid("restore", holder+" is no model", "name those that AcquireGpuLease listed as displaced")
		}
		m.Door.Tell(ctx, id, &messages.Reinstate{Placement: r.Placement, Reason: "the lease for which it left was given back"})
	}
	if err != nil {
		return nil, endsByItself(gpu.String(), err)
	}
	return &messages.GpuLeaseReleaseAck{Success: true, Released: held != nil}, nil
}
