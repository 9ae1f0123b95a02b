package job

import (
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/actors/entity"
	"modelops/messages"
)

// claimOf is the id of an attempt's claim.
func claimOf(attempt uint64) string { return strconv.FormatUint(attempt, 10) }

// granted accepts the placement that the job's own attempt asked for, once its memory is reserved. A refusal sends the leases back.
func granted(s State, c *messages.PlacementGranted, at entity.Stamp) (entity.Verdict, error) {
	p := c.Placement
	if s.Placement.GetId() != "" && s.Placement.Id == p.GetId() {
		return noted("already reserved")
	}
	if err := s.takes(p); err != nil {
		return entity.Verdict{}, err
	}
	return entity.Facts(&messages.JobReserved{Attempt: s.Attempt, Placement: p, Nonce: at.ID, At: timestamppb.New(at.Now)}), nil
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
	case s.seeks() && p.Claim == claimOf(s.Attempt) && len(s.Returning) == 0: // one attempt's memory at a time
		return nil
	}
	return messages.Errorf(messages.FailedPrecondition, s.ID.String(), "the placement is for claim %s; the job is %s in attempt %d", p.Claim, s.Phase, s.Attempt)
}

// placementFailed ends a job that no device can ever hold.
func placementFailed(s State, c *messages.ReportJobPlacementFailed, now *timestamppb.Timestamp) (entity.Verdict, error) {
	if c.Attempt != s.Attempt || !s.seeks() {
		return stale()
	}
	return entity.Facts(&messages.JobFailed{Attempt: s.Attempt, Error: withoutLog(c.Error), At: now}), nil
}

// preempt has the job leave its memory for a placement, once, and answers with the progress.
func preempt(s State, c *messages.Preempt, now *timestamppb.Timestamp) (entity.Verdict, error) {
	switch {
	case len(s.Returning) > 0, s.Phase == Checkpointing:
		return leaves(messages.PreemptReply_leaving)
	case !s.resident(), s.MadeRoom == c.Placement && c.Placement != "": // the second: it left for this placement and is placed again
		return leaves(messages.PreemptReply_gone)
	case s.Spec.GetUnpreemptible():
		return entity.Verdict{}, messages.NewError(messages.FailedPrecondition, s.ID.String(), "it was submitted as one that is never asked to leave")
	case s.Phase == Reserved:
		return entity.Verdict{}, messages.Errorf(messages.FailedPrecondition, s.ID.String(), "it is %s", s.Phase)
	}
	if err := messages.Outdated(s.ID, c.Arbiter, c.ArbiterEpoch, s.Obeyed); err != nil {
		return entity.Verdict{}, err
	}
	v, err := leaves(messages.PreemptReply_leaving)
	v.Events = []proto.Message{&messages.JobStopping{Attempt: s.Attempt, Cause: messages.StopCause_stop_preempted, Reason: c.Reason, Placement: c.Placement,
		PreemptedFor: c.PreemptedFor, ArbiterEpoch: c.ArbiterEpoch, At: now}}
	return v, err
}

// leaves answers how far its leaving is. It never left for a placement in the sense that it could be brought back elsewhere: it seeks memory itself.
func leaves(state messages.PreemptReply_State) (entity.Verdict, error) {
	return entity.Verdict{Answer: func(uint64) proto.Message { return &messages.PreemptReply{State: state} }}, nil
}

// reinstate has nothing to do: a job that left seeks memory again by itself, unless it was paused or has ended since.
func reinstate(s State, c *messages.Reinstate) (entity.Verdict, error) {
	switch {
	case s.over() || s.Phase == Paused:
		return entity.Verdict{}, messages.Errorf(messages.FailedPrecondition, s.ID.String(), "it is %s since it left: it isn't brought back", s.Phase)
	case s.MadeRoom != c.Placement || c.Placement == "":
		return entity.Verdict{}, messages.NewError(messages.FailedPrecondition, s.ID.String(), "it never left for this")
	}
	return noted("it waits for memory by itself, or has it: " + s.Phase.String())
}
