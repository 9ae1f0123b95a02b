package model

import (
	"cmp"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/actors/entity"
	"modelops/messages"
)

// granted accepts a placement whose memory is reserved: the one that its own attempt asked for, or, while it has none and seeks none, one
// that was asked for by its name. A refusal sends the leases back.
func granted(s State, c *messages.PlacementGranted, at entity.Stamp) (entity.Verdict, error) {
	p := c.Placement
	if s.Placement.GetId() != "" && s.Placement.Id == p.GetId() {
		return noted("already started")
	}
	if err := s.takes(p); err != nil {
		return entity.Verdict{}, err
	}
	now := timestamppb.New(at.Now)
	started := &messages.ModelLoadStarted{Attempt: s.Attempt, Placement: p, Nonce: at.ID, At: now}
	if s.Phase == Placing {
		return entity.Facts(started), nil
	}
	started.Attempt++
	return entity.Facts(&messages.ModelWanted{Reason: cmp.Or(p.Reason, "a request waits for it"), Attempt: started.Attempt, OnDemand: true, At: now}, started), nil
}

// takes tells why a placement can't be taken; nil when it can.
func (s State) takes(p *messages.Placement) error {
	for _, share := range p.GetShares() {
		if gpu, err := messages.ParseActorID(share.Gpu); err != nil || gpu.Kind != messages.KindGPU || p.Id == "" || share.Lease == "" {
			return messages.Errorf(messages.InvalidArgument, s.ID.String(), "placement %q names no device or no lease", p.Id)
		} else if gpu.Host() != s.ID.Host() {
			return messages.Errorf(messages.FailedPrecondition, s.ID.String(), "%s of the placement is a device of another host", gpu)
		}
	}
	if err := messages.Outdated(s.ID, p.GetArbiter(), p.GetArbiterEpoch(), s.Obeyed); err != nil {
		return err
	}
	switch {
	case len(p.GetShares()) == 0:
		return messages.Errorf(messages.InvalidArgument, s.ID.String(), "placement %q has no share of any device", p.GetId())
	case p.Holder != s.ID.String() || p.Host != s.ID.Host():
		return messages.Errorf(messages.FailedPrecondition, s.ID.String(), "the placement is for %s on %s", p.Holder, p.Host)
	case s.Phase == Placing && p.Claim == claimOf(s.Attempt):
		return nil
	case !s.declared():
		return NotFound(s.ID)
	case p.Id == s.Taken:
		return messages.Errorf(messages.FailedPrecondition, s.ID.String(), "placement %s was taken before, and its leases are given back", p.Id)
	case (s.Phase == Absent || s.Phase == Failed) && p.Claim == messages.ByName && len(s.Returning) == 0:
		return nil
	}
	return messages.Errorf(messages.FailedPrecondition, s.ID.String(), "the placement is for claim %s; the model is %s in attempt %d", p.Claim, s.Phase, s.Attempt)
}

// claimOf is the id of an attempt's claim.
func claimOf(attempt uint64) string { return strconv.FormatUint(attempt, 10) }

// placementFailed ends an attempt that finds no place. A model that was asked for by its name, without an attempt of its own, notes the reason
// once.
func (r Rules) placementFailed(s State, c *messages.ReportPlacementFailed, now *timestamppb.Timestamp) (entity.Verdict, error) {
	switch {
	case c.Attempt == 0 && (s.Phase == Absent || s.Phase == Failed && !proto.Equal(s.Error, c.Error)) && s.declared():
		failed := r.loadFailed(s, s.Attempt+1, c.Error, false, now)
		return entity.Facts(&messages.ModelWanted{Reason: "requests ask for it", Attempt: failed.Attempt, OnDemand: true, At: now}, failed), nil
	case c.Attempt != s.Attempt || s.Phase != Placing:
		return stale()
	case s.FreeOnly:
		return entity.Facts(&messages.ModelUnwanted{Reason: "it was to move here, and can't: " + c.Error.GetMessage(), At: now}), nil
	}
	return entity.Facts(r.loadFailed(s, c.Attempt, c.Error, c.Retriable, now)), nil
}
