package arbiter

import (
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/actors/entity"
	"modelops/messages"
)

// relieve chooses idle holders to preempt until a device's use is below a level. A device that can't be relieved stays as it is: busy and
// pinned holders are never taken for this.
func (r Rules) relieve(s State, c *messages.RelievePressure, seen *messages.SchedulerReadings, now *timestamppb.Timestamp) (entity.Verdict, error) {
	for _, o := range s.Open {
		if _, on := o.Placement.On(c.Gpu); on {
			return entity.Verdict{}, nil // a placement or a relief is under way there already
		}
	}
	var used, limit uint64
	for _, l := range seen.Ledgers {
		if l.Id == c.Gpu {
			used, limit = l.ReservedBytes+l.ForeignBytes, l.LimitBytes
		}
	}
	if used <= c.LevelBytes {
		return entity.Verdict{}, nil
	}
	var unused []allocated
	q := question{leaving: s.leaving(), moving: s.Moving.now().GetHolder()}
	for _, x := range seen.Allocations {
		if bytes, on := x.On(c.Gpu); on && q.stays(x) && bytes > 0 && !x.Young && restful(x, useOf(x, r.Collation.Milliseconds())) {
			unused = append(unused, allocated{Allocation: x, bytes: bytes})
		}
	}
	if used <= limit && !c.Foreign {
		unused = spareLatest(unused)
	}
	p := r.policy()
	rank(p, unused)
	var out []*messages.Victim
	for _, v := range unused {
		if used <= c.LevelBytes {
			break
		}
		used -= min(v.bytes, used)
		out = append(out, v.victim(p.said))
	}
	if len(out) == 0 {
		return entity.Verdict{}, nil
	}
	return entity.Facts(&messages.PressureRelieved{Gpu: c.Gpu, Victims: out, Reason: c.Reason, At: now}), nil
}
