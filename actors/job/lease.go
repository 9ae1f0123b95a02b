package job

import (
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/actors/entity"
	"modelops/messages"
)

// has tells whether a lease is a share of a placement. An epoch of 0 stands for any.
func has(p *messages.Placement, lease string, epoch uint64) bool {
	return slices.ContainsFunc(p.GetShares(), func(x *messages.Share) bool {
		return x.Lease == lease && (epoch == 0 || x.Epoch == epoch)
	})
}

// holds tells whether a lease is the job's, also while it is given back.
func (s State) holds(lease string, epoch uint64) bool {
	return has(s.Placement, lease, epoch) || slices.ContainsFunc(s.Returning, func(p *messages.Placement) bool { return has(p, lease, epoch) })
}

// leaseLost ends the attempt at once, without a checkpoint: it is on memory that may be granted to others. One that is on its way out already goes
// without its grace from now on, and what it leaves for stays the reason.
func leaseLost(s State, c *messages.ReportJobLeaseLost, now *timestamppb.Timestamp) (entity.Verdict, error) {
	if c.Attempt != s.Attempt || s.LostLease != "" || !has(s.Placement, c.Lease, c.Epoch) {
		return stale()
	}
	v := entity.Facts(&messages.JobLeaseLost{Attempt: s.Attempt, Lease: c.Lease, Epoch: c.Epoch, Reason: c.Reason, At: now})
	if s.Phase != Checkpointing {
		v.Events = append(v.Events, s.stopping(messages.StopCause_stop_fenced, "its lease is lost: "+c.Reason, "", now))
	}
	return v, nil
}

func leaseReturned(s State, c *messages.ReportJobLeaseReturned, now *timestamppb.Timestamp) (entity.Verdict, error) {
	if !slices.ContainsFunc(s.Returning, func(p *messages.Placement) bool { return p.Id == c.Placement }) {
		return stale()
	}
	return entity.Facts(&messages.JobLeaseReturned{Placement: c.Placement, At: now}), nil
}
