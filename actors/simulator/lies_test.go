package simulator

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"modelops/actors/arbiter"
	"modelops/actors/entity"
	"modelops/actors/gateway/pool"
	"modelops/actors/gpu"
	"modelops/actors/model"
	"modelops/messages"
)

// What plants change in the kinds.

// ledgerSeeing decides on a state that isn't so.
func ledgerSeeing(lie func(gpu.State) gpu.State) func(entity.Kind[gpu.State]) entity.Kind[gpu.State] {
	return func(k entity.Kind[gpu.State]) entity.Kind[gpu.State] {
		right := k.Decide
		k.Decide = func(s gpu.State, c proto.Message, at entity.Stamp) (entity.Verdict, error) {
			if _, ok := c.(*messages.ReserveVram); ok {
				s = lie(s)
			}
			return right(s, c, at)
		}
		return k
	}
}

// ledgerForgetting doesn't hear of renewals, nor remember those in the journal.
func ledgerForgetting(k entity.Kind[gpu.State]) entity.Kind[gpu.State] {
	right := k.Accepted
	k.Accepted = func(id messages.ActorID, c proto.Message) {
		if _, ok := c.(*messages.RenewLease); !ok {
			right(id, c)
		}
	}
	evolve := k.Evolve
	k.Evolve = func(s gpu.State, e proto.Message, n uint64) gpu.State {
		if r, ok := e.(*messages.LeaseRenewed); ok && !r.Unwatched {
			return s
		}
		return evolve(s, e, n)
	}
	return k
}

// ledgerKeeping lets no lease expire whose time is over.
func ledgerKeeping(k entity.Kind[gpu.State]) entity.Kind[gpu.State] {
	right := k.Perform
	k.Perform = func(ctx context.Context, e entity.Effect) (proto.Message, error) {
		c, err := right(ctx, e)
		if _, ok := c.(*messages.ExpireLease); ok {
			c = nil
		}
		return c, err
	}
	return k
}

// trusting lets programs take over what went back.
func trusting(k entity.Kind[arbiter.State]) entity.Kind[arbiter.State] {
	right := k.Decide
	k.Decide = func(s arbiter.State, c proto.Message, at entity.Stamp) (entity.Verdict, error) {
		v, err := right(s, c, at)
		if _, ok := c.(*messages.ClosePlacement); ok {
			err = nil
		}
		return v, err
	}
	return k
}

func modelEvolving(after func(model.State) model.State) func(entity.Kind[model.State]) entity.Kind[model.State] {
	return func(k entity.Kind[model.State]) entity.Kind[model.State] {
		right := k.Evolve
		k.Evolve = func(s model.State, e proto.Message, n uint64) model.State { return after(right(s, e, n)) }
		return k
	}
}

// modelOwing leaves out work.
func modelOwing(forgets func(s model.State, key string) bool) func(entity.Kind[model.State]) entity.Kind[model.State] {
	return func(k entity.Kind[model.State]) entity.Kind[model.State] {
		right := k.Owed
		k.Owed = func(s model.State) []entity.Effect {
			return slices.DeleteFunc(right(s), func(e entity.Effect) bool { return forgets(s, e.Key()) })
		}
		return k
	}
}

// impatient reports a stopped worker as gone when it was only told to stop.
func impatient(k entity.Kind[model.State]) entity.Kind[model.State] {
	right := k.Perform
	k.Perform = func(ctx context.Context, e entity.Effect) (proto.Message, error) {
		t := ctx.Value(tryKey{}).(*try)
		c, err := right(ctx, e)
		var attempt uint64
		if n, ok := strings.CutPrefix(e.Key(), "stop/"); ok && t.until != "" {
			for _, d := range n {
				attempt = attempt*10 + uint64(d-'0')
			}
			t.until = ""
			return &messages.ReportWorkerExited{Attempt: attempt, Reason: "stopped"}, nil
		}
		return c, err
	}
	return k
}

// deaf takes a replica as removed that wasn't told.
func deaf(k entity.Kind[model.State]) entity.Kind[model.State] {
	return performing(k, "remove_replica/", func(replica string, order uint64, _ proto.Message) proto.Message {
		return &messages.ReportReplicaSettled{Replica: replica, Order: order}
	})
}

// rash takes a replacement as ready that was only ordered.
func rash(k entity.Kind[model.State]) entity.Kind[model.State] {
	return performing(k, "ensure_replacement/", func(replica string, _ uint64, right proto.Message) proto.Message {
		if right == nil {
			return &messages.ReportReplacementReady{Replica: replica}
		}
		return right
	})
}

// performing reports work on replicas wrongly.
func performing(k entity.Kind[model.State], prefix string, lie func(replica string, order uint64, right proto.Message) proto.Message) entity.Kind[model.State] {
	right := k.Perform
	k.Perform = func(ctx context.Context, e entity.Effect) (proto.Message, error) {
		rest, ok := strings.CutPrefix(e.Key(), prefix)
		if !ok {
			return right(ctx, e)
		}
		replica, number, _ := strings.Cut(rest, "/")
		order, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return nil, err
		}
		if prefix == "remove_replica/" {
			return lie(replica, order, nil), nil
		}
		c, err := right(ctx, e)
		if err != nil {
			return nil, err
		}
		return lie(replica, order, c), nil
	}
	return k
}

// unsplit is a placement that forgot its shares but the first.
func unsplit(p *messages.Placement) *messages.Placement {
	p = proto.CloneOf(p)
	if len(p.Shares) > 1 {
		p.Shares = p.Shares[:1]
	}
	return p
}

// promising weighs devices as if something else were on its way there.
func promising(lie func(*messages.Placement) *messages.Placement) func(entity.Kind[arbiter.State]) entity.Kind[arbiter.State] {
	return func(k entity.Kind[arbiter.State]) entity.Kind[arbiter.State] {
		right := k.Decide
		k.Decide = func(s arbiter.State, c proto.Message, at entity.Stamp) (entity.Verdict, error) {
			if _, ok := c.(*messages.RequestPlacement); ok {
				open := map[string]arbiter.Open{}
				for id, o := range s.Open {
					o.Placement = lie(o.Placement)
					open[id] = o
				}
				s.Open = open
			}
			return right(s, c, at)
		}
		return k
	}
}

// abandoningOne forgets all shares but the first when a placement is given up.
func abandoningOne(k entity.Kind[arbiter.State]) entity.Kind[arbiter.State] {
	right := k.Evolve
	k.Evolve = func(s arbiter.State, e proto.Message, n uint64) arbiter.State {
		s = right(s, e, n)
		if a, ok := e.(*messages.PlacementAbandoned); ok && s.Open[a.Id].Placement != nil {
			o := s.Open[a.Id]
			o.Placement = unsplit(o.Placement)
			s.Open[a.Id] = o
		}
		return s
	}
	return k
}

// arbiterSeeing changes the allocations that the arbiter reads.
func arbiterSeeing(lie func(*messages.Allocation)) func(entity.Kind[arbiter.State]) entity.Kind[arbiter.State] {
	return func(k entity.Kind[arbiter.State]) entity.Kind[arbiter.State] {
		right := k.Observe
		k.Observe = func(ctx context.Context, c proto.Message) proto.Message {
			seen := right(ctx, c)
			if _, ok := c.(*messages.RequestPlacement); ok {
				for _, a := range seen.(*messages.SchedulerReadings).Allocations {
					lie(a)
				}
			}
			return seen
		}
		return k
	}
}

// seeksOnce drops each Seek but the first for waiting requests.
func seeksOnce(i pool.Intent) bool {
	s, seeks := i.(pool.Seek)
	return !seeks || s.Waited == 0
}

func wakesNone(i pool.Intent) bool {
	_, wakes := i.(pool.Wake)
	return !wakes
}

// passesBy is a host whose line is never asked for the pool that waits longest.
type passesBy struct{ pool.Shared[*front] }

func (passesBy) Next() (*front, bool) { return nil, false }

func keepsPlace(h pool.Shared[*front]) pool.Shared[*front] { return passesBy{h} }

// filling is a host whose queue only fills.
type filling struct{ pool.Shared[*front] }

func (filling) Unqueue(int) {}

func keepsQueueing(h pool.Shared[*front]) pool.Shared[*front] { return filling{h} }

func notLoading(r *messages.Allocation) {
	if r.State == messages.Allocation_starting {
		r.State = messages.Allocation_changing
	}
}

// once does a piece of work only while it is young: what failed then is forgotten.
func once(prefix string) func(entity.Kind[arbiter.State]) entity.Kind[arbiter.State] {
	return func(k entity.Kind[arbiter.State]) entity.Kind[arbiter.State] {
		right, done := k.Perform, map[string]bool{}
		k.Perform = func(ctx context.Context, e entity.Effect) (proto.Message, error) {
			if strings.HasPrefix(e.Key(), prefix) && done[e.Key()] {
				return nil, nil
			}
			done[e.Key()] = true
			return right(ctx, e)
		}
		return k
	}
}

// remembering keeps something outside of the state.
func remembering() func(entity.Kind[model.State]) entity.Kind[model.State] {
	folded := 0
	return modelEvolving(func(s model.State) model.State {
		folded++
		s.Slots = uint32(folded)
		return s
	})
}

// straying puts the first share of a placement on a device of another host.
func straying(k entity.Kind[arbiter.State]) entity.Kind[arbiter.State] {
	right := k.Decide
	k.Decide = func(s arbiter.State, c proto.Message, at entity.Stamp) (entity.Verdict, error) {
		v, err := right(s, c, at)
		for _, e := range v.Events {
			d, ok := e.(*messages.PlacementDecided)
			if !ok {
				continue
			}
			for _, l := range at.Readings.(*messages.SchedulerReadings).Ledgers {
				if l.Host != d.Placement.Host {
					d.Placement.Shares[0].Gpu = l.Id
				}
			}
		}
		return v, err
	}
	return k
}

// unfenced believes some commands about a lease, whatever holder and epoch they name.
func unfenced(believed func(holder string) bool) func(entity.Kind[gpu.State]) entity.Kind[gpu.State] {
	return func(k entity.Kind[gpu.State]) entity.Kind[gpu.State] {
		right := k.Decide
		k.Decide = func(s gpu.State, c proto.Message, at entity.Stamp) (entity.Verdict, error) {
			if r, ok := c.(*messages.ReleaseVram); ok && believed(r.Holder) {
				if l, held := s.Leases[r.Lease]; held {
					r = proto.CloneOf(r)
					r.Holder, r.Epoch = l.Holder, l.Epoch
					c = r
				}
			}
			return right(s, c, at)
		}
		return k
	}
}
