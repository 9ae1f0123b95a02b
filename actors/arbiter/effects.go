package arbiter

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// World shows the owners' latest reports. They may be old: the owners decide.
type World interface {
	Ledgers() []*messages.GpuView
	Allocations() []*messages.Allocation
}

// Cluster is the part of a World that knows other hosts. One without it is a host alone.
type Cluster interface {
	// Hosts are those of which more is known than their ledgers, such as that they can't be reached.
	Hosts() []*messages.HostReading
	// Seat is the host whose arbiter has the seat; empty while this one's has it.
	Seat() string
}

// term is the host of an arbiter and its epoch, which its decisions carry.
type term struct {
	Arbiter string
	Epoch   uint64
}

func termOf(p *messages.Placement) term { return term{p.GetArbiter(), p.GetArbiterEpoch()} }

type (
	evict struct {
		ID, Victim, For string
		Term            term
		Move            *messages.Move // once it has left; nil = it just leaves
	}
	reserve struct{ Placement *messages.Placement }
	handOn  struct{ Placement *messages.Placement }
	release struct{ Placement *messages.Placement }
	moveOut struct {
		ID   string
		N    int
		Move *messages.Move
		Term term
	}
	bringBack struct {
		ID   string
		N    int
		Move *messages.Move
	}
	giveUp struct{ ID string }
	// unclaimed gives a program's memory back when its caller doesn't take it over in time.
	unclaimed struct{ ID string }
)

func (e moveOut) Key() string   { return fmt.Sprintf("move_out/%s/%d", e.ID, e.N) }
func (e bringBack) Key() string { return fmt.Sprintf("bring_back/%s/%d", e.ID, e.N) }
func (e giveUp) Key() string    { return "end_defrag/" + e.ID }
func (e unclaimed) Key() string { return "unclaimed/" + e.ID }

func (e evict) Key() string   { return "evict/" + e.ID + "/" + e.Victim }
func (e reserve) Key() string { return "reserve/" + e.Placement.Id }
func (e handOn) Key() string  { return "hand_over/" + e.Placement.Id }
func (e release) Key() string { return "release/" + e.Placement.Id }

// Owed lists the next step of each open placement.
func Owed(s State) []entity.Effect {
	var out []entity.Effect
	for _, id := range slices.Sorted(maps.Keys(s.Open)) {
		o := s.Open[id]
		switch o.Step {
		case Evicting:
			for _, v := range o.leaving() {
				out = append(out, evict{o.Placement.Id, v, o.Placement.Holder, termOf(o.Placement), o.moveFor(v)})
			}
		case Decided:
			out = append(out, reserve{o.Placement})
		case Reserved:
			if IsProgram(o.Placement.Holder) {
				out = append(out, unclaimed{o.Placement.Id})
			} else {
				out = append(out, handOn{o.Placement})
			}
		case Releasing:
			out = append(out, release{o.Placement})
		}
	}
	out = append(out, s.comeBack()...)
	out = append(out, s.settleInversions()...)
	if m := s.Moving; m.now() != nil {
		if m.Left {
			out = append(out, bringBack{m.Plan.Id, m.Next, m.now()})
		} else {
			out = append(out, moveOut{m.Plan.Id, m.Next, m.now(), term{s.Host, s.Epoch}})
		}
		out = append(out, giveUp{m.Plan.Id})
	}
	return out
}

// Delay implements entity.Delayed.
func (giveUp) Delay() time.Duration { return defragWithin }

// Delay implements entity.Delayed.
func (unclaimed) Delay() time.Duration { return takeOverWithin }

// Pace: a victim that drains is asked again until it is gone.
func (evict) Pace() (first, longest time.Duration) {
	return 10 * time.Millisecond, 250 * time.Millisecond
}

// Pace: as for a victim.
func (moveOut) Pace() (first, longest time.Duration) { return evict{}.Pace() }

// Pace: the model is asked until it has its new place.
func (bringBack) Pace() (first, longest time.Duration) {
	return 50 * time.Millisecond, time.Second
}

// defragWithin is when a plan that doesn't come to its end is given up.
const defragWithin = 10 * time.Minute

// askWithin bounds one question to an owner; the work stays owed when there is no answer.
const askWithin = 5 * time.Second

// takeOverWithin is how long a program's reserved memory waits to be taken over.
const takeOverWithin = 15 * time.Second

type ports struct{ door messages.Door }

func (h ports) perform(ctx context.Context, effect entity.Effect) (proto.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	switch e := effect.(type) {
	case giveUp:
		return &messages.EndDefrag{Id: e.ID, Reason: "it took longer than " + defragWithin.String()}, nil
	case unclaimed:
		return &messages.AbandonPlacement{Id: e.ID, Reason: "its memory was not taken over within " + takeOverWithin.String()}, nil
	case watchInversion:
		return &messages.CheckInversion{Holder: e.Holder}, nil
	case remedy:
		return h.remedy(ctx, e)
	case reinstate:
		return h.reinstate(ctx, e)
	case moveOut:
		return h.moveOut(ctx, e)
	case bringBack:
		return h.bringBack(ctx, e)
	case evict:
		return h.evict(ctx, e)
	case reserve:
		return h.reserve(ctx, e.Placement)
	case handOn:
		return h.handOver(ctx, e.Placement)
	case release:
		if e.Placement.Holder == "" { // a relief holds no lease
			return &messages.ClosePlacement{Id: e.Placement.Id, Reason: "abandoned"}, nil
		}
		if err := h.release(ctx, e.Placement.Holder, e.Placement.Shares, "the placement was abandoned"); err != nil {
			return nil, err
		}
		return &messages.ClosePlacement{Id: e.Placement.Id, Reason: "abandoned"}, nil
	}
	panic(fmt.Sprintf("the arbiter owes no %T", effect))
}

func (h ports) evict(ctx context.Context, e evict) (proto.Message, error) {
	reason := "makes room for " + e.For
	if e.For == "" { // a relief
		reason = "its device is short of memory"
	}
	if e.Move != nil {
		reason += ", and moves to " + hostOf(e.Move.To)
	}
	gone, moves, err := h.preempt(ctx, e.Victim, &messages.Preempt{Placement: e.ID, PreemptedFor: e.For, Reason: reason, Arbiter: e.Term.Arbiter, ArbiterEpoch: e.Term.Epoch})
	if moves && e.Move != nil { // told, not owed: when it is lost, the move is an eviction
		h.door.Tell(ctx, messages.ModelActor(hostOf(e.Move.To), nameOf(e.Victim)), moveIn(e.Move, e.For))
	}
	switch code := messages.CodeOf(err); {
	case gone || code == messages.ModelNotFound || code == messages.NotFound:
		return &messages.ReportPreempted{Id: e.ID, Holder: e.Victim}, nil
	case code == messages.FailedPrecondition, staysDown(err): // pinned or starting by now: the decision no longer holds
		return &messages.AbandonPlacement{Id: e.ID, Reason: messages.AsError(err).Message}, nil
	}
	return nil, err
}

// preempt asks a holder to leave; gone tells that it holds no memory any more, and forThis that it left for this and nobody has unloaded it since.
func (h ports) preempt(ctx context.Context, holder string, m *messages.Preempt) (gone, forThis bool, err error) {
	actor, err := messages.ParseActorID(holder)
	if err != nil {
		return false, false, err
	}
	r, err := h.door.Ask(ctx, actor, m)
	if err != nil {
		return false, false, err
	}
	reply, ok := r.Answer.(*messages.PreemptReply)
	gone = ok && reply.State == messages.PreemptReply_gone
	return gone, gone && reply.LeftForIt, nil
}

// reserve asks every device of a placement for its share. It is all or nothing: what was granted before a refusal is given back before the
// refusal is told, and a crash in between finds the placement as it was and asks again.
func (h ports) reserve(ctx context.Context, p *messages.Placement) (proto.Message, error) {
	epochs := make([]uint64, len(p.Shares))
	for i, share := range p.Shares {
		gpu, err := messages.ParseActorID(share.Gpu)
		if err != nil {
			return nil, err
		}
		r, err := h.door.Ask(ctx, gpu, &messages.ReserveVram{Lease: share.Lease, Holder: p.Holder, Bytes: share.Bytes, TtlSeconds: p.TtlSeconds, Owner: p.Owner,
			Arbiter: p.Arbiter, ArbiterEpoch: p.ArbiterEpoch})
		switch messages.CodeOf(err) {
		case 0:
			epochs[i] = r.Answer.(*messages.VramGrant).Epoch
		case messages.GPUUnavailable, messages.NotFound, messages.Conflict, messages.InvalidArgument, messages.FailedPrecondition: // the last: another arbiter took over since
			others := slices.Delete(slices.Clone(p.Shares), i, i+1)
			if err := h.release(ctx, p.Holder, others, "another device of the placement refused"); err != nil {
				return nil, err
			}
			return &messages.ReportReservationRefused{Id: p.Id, Error: messages.AsError(err).Body()}, nil
		default:
			return nil, err
		}
	}
	return &messages.ReportReserved{Id: p.Id, Epochs: epochs}, nil
}

// release gives shares back. The epoch of a grant whose answer was lost is asked for: an owner releases nothing without it. Releasing what
// isn't held does no harm.
func (h ports) release(ctx context.Context, holder string, shares []*messages.Share, reason string) error {
	for _, share := range shares {
		gpu, err := messages.ParseActorID(share.Gpu)
		if err != nil {
			return err
		}
		epoch := share.Epoch
		if epoch == 0 {
			r, err := h.door.Ask(ctx, gpu, &messages.CheckLease{Lease: share.Lease, Holder: holder})
			if messages.CodeOf(err) == messages.NotFound { // a device that isn't there holds no lease
				continue
			}
			if err != nil {
				return err
			}
			reply := r.Answer.(*messages.LeaseReply)
			if reply.State != messages.LeaseReply_valid {
				continue
			}
			epoch = reply.Epoch
		}
		_, err = h.door.Ask(ctx, gpu, &messages.ReleaseVram{Lease: share.Lease, Holder: holder, Epoch: epoch, Reason: reason})
		if err != nil && messages.CodeOf(err) != messages.NotFound {
			return err
		}
	}
	return nil
}

func (h ports) handOver(ctx context.Context, p *messages.Placement) (proto.Message, error) {
	holder, err := messages.ParseActorID(p.Holder)
	if err != nil {
		return nil, err
	}
	_, err = h.door.Ask(ctx, holder, &messages.PlacementGranted{Placement: p})
	switch code := messages.CodeOf(err); {
	case code == 0:
		return &messages.ClosePlacement{Id: p.Id, Reason: "handed over"}, nil
	case code == messages.FailedPrecondition, code == messages.ModelNotFound, code == messages.NotFound, code == messages.InvalidArgument, staysDown(err):
		return &messages.AbandonPlacement{Id: p.Id, Reason: messages.AsError(err).Message}, nil
	}
	return nil, err
}

// staysDown tells that an actor crashed too often: asking it again makes no sense, unlike one that doesn't answer now.
func staysDown(err error) bool {
	e := messages.AsError(err)
	return e != nil && e.Code == messages.Unavailable && e.Retry == 0
}

// moveOut asks a holder to leave its device, as a victim is asked.
func (h ports) moveOut(ctx context.Context, e moveOut) (proto.Message, error) {
	gone, _, err := h.preempt(ctx, e.Move.Holder, &messages.Preempt{Placement: moveKey(e.ID, e.N), Reason: "moves to " + e.Move.To, Arbiter: e.Term.Arbiter, ArbiterEpoch: e.Term.Epoch})
	switch messages.CodeOf(err) {
	case 0:
		if gone {
			return &messages.ReportMoveLeft{Id: e.ID, Holder: e.Move.Holder}, nil
		}
		return nil, nil
	case messages.FailedPrecondition, messages.ModelNotFound, messages.NotFound, messages.InvalidArgument: // pinned, starting or gone by now: the plan no longer holds
		return &messages.EndDefrag{Id: e.ID, Reason: messages.AsError(err).Message}, nil
	}
	return nil, err
}

// moveKey stands for the placement in the Preempt of a move.
func moveKey(plan string, n int) string { return fmt.Sprintf("%s/%d", plan, n) }

// bringBack asks a holder that left to come back. It stays owed when the holder agrees: its new placement ends it. If it was unloaded by
// hand since, the plan no longer holds.
func (h ports) bringBack(ctx context.Context, e bringBack) (proto.Message, error) {
	holder, err := messages.ParseActorID(e.Move.Holder)
	if err != nil {
		return &messages.EndDefrag{Id: e.ID, Reason: err.Error()}, nil
	}
	_, err = h.door.Ask(ctx, holder, &messages.Reinstate{Placement: moveKey(e.ID, e.N), Reason: "moves from " + e.Move.From + " to " + e.Move.To})
	switch messages.CodeOf(err) {
	case messages.FailedPrecondition, messages.ModelNotFound, messages.NotFound:
		return &messages.EndDefrag{Id: e.ID, Reason: messages.AsError(err).Message}, nil
	}
	return nil, err
}
