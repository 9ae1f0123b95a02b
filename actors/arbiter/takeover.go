package arbiter

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/actors/entity"
	"modelops/messages"
)

// In a cluster each host has an arbiter, and one of them has the seat. It takes over under an epoch that its decisions carry; owners refuse those of a lower
// one than they have obeyed. Two arbiters of one epoch, on two sides of a split, are safe: only the owner of a device grants its memory, and never twice.

// retrySeat is when to ask again after an arbiter without the seat refused.
const retrySeat = 250 * time.Millisecond

// takeOver begins a term. Asking again in the same term begins another one: an arbiter elsewhere has decided since.
func takeOver(s State, c *messages.TakeOver, now *timestamppb.Timestamp) (entity.Verdict, error) {
	if c.Host == "" {
		return entity.Verdict{}, messages.NewError(messages.InvalidArgument, s.ID.String(), "a take-over needs the host of its arbiter")
	}
	epoch := max(c.Above, s.Epoch) + 1
	v := entity.Facts(&messages.ArbiterTookOver{Host: c.Host, Epoch: epoch, Members: c.Members, At: now})
	v.Events = append(v.Events, s.ends(fmt.Sprintf("the arbiter of %s takes over under epoch %d", c.Host, epoch), now)...)
	v.Answer = func(uint64) proto.Message { return &messages.TakeOverReply{Epoch: epoch} }
	return v, nil
}

// standDown ends a term.
func standDown(s State, c *messages.StandDown, now *timestamppb.Timestamp) (entity.Verdict, error) {
	return entity.Verdict{Events: s.ends("the arbiter of "+c.Host+" places from now on", now)}, nil
}

// ends gives up what no owner has granted yet, and all moves. A placement that is reserved goes on: its holder may have it already, and takes or refuses it.
func (s State) ends(reason string, now *timestamppb.Timestamp) (out []proto.Message) {
	for _, id := range slices.Sorted(maps.Keys(s.Open)) {
		if step := s.Open[id].Step; step == Evicting || step == Decided {
			out = append(out, &messages.PlacementAbandoned{Id: id, Reason: reason, At: now})
		}
	}
	if s.Moving != nil {
		out = append(out, &messages.DefragEnded{Id: s.Moving.Plan.Id, Reason: reason, At: now})
	}
	return out
}

// seated refuses a decision while another host's arbiter has the seat.
func (s State) seated(seen *messages.SchedulerReadings) error {
	if seen.GetSeat() == "" {
		return nil
	}
	return messages.Errorf(messages.Unavailable, s.ID.String(), "the arbiter of %s places now", seen.Seat).WithRetry(retrySeat).
		WithHint("modelops cluster shows which host's arbiter has the seat")
}
