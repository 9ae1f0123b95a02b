package model

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

// holds tells whether a lease is the model's, also while it is given back.
func (s State) holds(lease string, epoch uint64) bool {
	return has(s.Placement, lease, epoch) || slices.ContainsFunc(s.Returning, func(p *messages.Placement) bool { return has(p, lease, epoch) })
}

// leaseLost ends the worker, with the requests that run there: it is on memory that may be granted to others. A model that is still wanted
// is placed again afterwards.
func leaseLost(s State, c *messages.ReportLeaseLost, now *timestamppb.Timestamp) (entity.Verdict, error) {
	if c.Attempt != s.Attempt || s.LostLease != "" || !has(s.Placement, c.Lease, c.Epoch) {
		return stale()
	}
	v := entity.Facts(&messages.ModelLeaseLost{Attempt: s.Attempt, Lease: c.Lease, Epoch: c.Epoch, Reason: c.Reason, At: now})
	if s.settledIn() || s.Phase == Loading || s.Phase == Draining && !s.Force {
		v.Events = append(v.Events, &messages.ModelDraining{Attempt: s.Attempt, Reason: "its lease is lost: " + c.Reason, Force: true, At: now})
	}
	return v, nil
}
