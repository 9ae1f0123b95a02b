package arbiter

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// Ledgers shows the devices' latest reports. They are advice: the owner decides.
type Ledgers interface {
	Ledgers() []*messages.GpuView
	Residents() []*messages.Resident
	// Known is what is known of a model's need in bytes, 0 for nothing, the kinds of devices it runs on, and over how many it is split.
	Known(ctx context.Context, model string) (bytes uint64, kinds []string, shards uint32)
}

// readings are what the arbiter observes of the world.
type readings struct{ ledgers Ledgers }

// observe gives the command with what is seen when it comes; nil for commands that need no readings.
func (r readings) observe(ctx context.Context, c proto.Message) proto.Message {
	switch c := c.(type) {
	case *messages.PlaceModel:
		seen := proto.CloneOf(c)
		seen.Ledgers, seen.Residents = r.ledgers.Ledgers(), r.ledgers.Residents()
		return seen
	case *messages.RelievePressure:
		seen := proto.CloneOf(c)
		seen.Ledgers, seen.Residents = r.ledgers.Ledgers(), r.ledgers.Residents()
		return seen
	case *messages.HintModel:
		seen := proto.CloneOf(c)
		seen.Ledgers, seen.Residents = r.ledgers.Ledgers(), r.ledgers.Residents()
		known, kinds, shards := r.ledgers.Known(ctx, c.Model)
		seen.Bytes, seen.Kinds, seen.Shards = cmp.Or(c.Bytes, known), kinds, shards
		return seen
	case *messages.PlanDefrag:
		seen := proto.CloneOf(c)
		seen.Ledgers, seen.Residents = r.ledgers.Ledgers(), r.ledgers.Residents()
		if c.Model != "" {
			known, kinds, shards := r.ledgers.Known(ctx, c.Model)
			seen.NeedBytes, seen.Kinds, seen.Shards = cmp.Or(c.NeedBytes, known), kinds, shards
		}
		return seen
	}
	return nil
}

type (
	evict   struct{ ID, Victim, For string }
	reserve struct{ Placement *messages.Placement }
	handOn  struct{ Placement *messages.Placement }
	release struct{ Placement *messages.Placement }
	moveOut struct {
		ID   string
		N    int
		Move *messages.Move
	}
	bringBack struct {
		ID   string
		N    int
		Move *messages.Move
	}
	giveUp struct{ ID string }
)

func (e moveOut) Key() string   { return fmt.Sprintf("move_out/%s/%d", e.ID, e.N) }
func (e bringBack) Key() string { return fmt.Sprintf("bring_back/%s/%d", e.ID, e.N) }
func (e giveUp) Key() string    { return "end_defrag/" + e.ID }

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
				out = append(out, evict{o.Placement.Id, v, o.Placement.Model})
			}
		case Decided:
			out = append(out, reserve{o.Placement})
		case Reserved:
			out = append(out, handOn{o.Placement})
		case Releasing:
			out = append(out, release{o.Placement})
		}
	}
	if m := s.Moving; m.now() != nil {
		if m.Left {
			out = append(out, bringBack{m.Plan.Id, m.Next, m.now()})
		} else {
			out = append(out, moveOut{m.Plan.Id, m.Next, m.now()})
		}
		out = append(out, giveUp{m.Plan.Id})
	}
	return out
}

// Pace: a victim that drains is asked again until it is gone.
func (evict) Pace() (first, longest time.Duration) {
	return 10 * time.Millisecond, 250 * time.Millisecond
}

// Pace: as for a victim.
func (moveOut) Pace() (first, longest time.Duration) { return evict{}.Pace() }

// Pace: it is asked for until it has its new place.
func (bringBack) Pace() (first, longest time.Duration) {
	return 50 * time.Millisecond, time.Second
}

// DefragWithin is when a plan that doesn't come to its end is given up.
const DefragWithin = 10 * time.Minute

// askWithin bounds one question to an owner; the work stays owed when there is no answer.
const askWithin = 5 * time.Second

type hands struct{ door messages.Door }

func (h hands) perform(ctx context.Context, effect entity.Effect) (proto.Message, error) {
	if e, ok := effect.(giveUp); ok {
		if err := entity.Pause(ctx, DefragWithin); err != nil {
			return nil, err
		}
		return &messages.EndDefrag{Id: e.ID, Reason: "it took longer than " + DefragWithin.String()}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	switch e := effect.(type) {
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
		if e.Placement.Model == "" { // a relief holds no lease
			return &messages.ClosePlacement{Id: e.Placement.Id, Reason: "abandoned"}, nil
		}
		if err := h.release(ctx, e.Placement.Parts(), "the placement was abandoned"); err != nil {
			return nil, err
		}
		return &messages.ClosePlacement{Id: e.Placement.Id, Reason: "abandoned"}, nil
	}
	panic(fmt.Sprintf("the arbiter owes no %T", effect))
}

// Gone is the note of a victim that holds no memory any more.
const Gone = "gone"

func (h hands) evict(ctx context.Context, e evict) (proto.Message, error) {
	victim, err := messages.ParseActorID(e.Victim)
	if err != nil {
		return nil, err
	}
	r, err := h.door.Ask(ctx, victim, &messages.EvictModel{Placement: e.ID, EvictedFor: e.For, Reason: "makes room for " + e.For})
	switch messages.CodeOf(err) {
	case 0:
		if d, ok := r.Answer.(*messages.Done); ok && d.Note == Gone {
			return &messages.ReportEvicted{Id: e.ID, Model: e.Victim}, nil
		}
		return nil, nil
	case messages.FailedPrecondition: // pinned or loading by now: what was decided doesn't hold
		return &messages.AbandonPlacement{Id: e.ID, Reason: messages.AsError(err).Message}, nil
	case messages.ModelNotFound, messages.NotFound:
		return &messages.ReportEvicted{Id: e.ID, Model: e.Victim}, nil
	}
	return nil, err
}

// reserve asks every device of a placement for its part. It is all or nothing: what was granted before a refusal goes home before the
// refusal is told, and a crash in between finds the placement as it was and asks again.
func (h hands) reserve(ctx context.Context, p *messages.Placement) (proto.Message, error) {
	var epoch uint64
	for i, part := range p.Parts() {
		gpu, err := messages.ParseActorID(part.Gpu)
		if err != nil {
			return nil, err
		}
		r, err := h.door.Ask(ctx, gpu, &messages.ReserveVram{Lease: part.Lease, Holder: p.Model, Bytes: part.Bytes})
		switch messages.CodeOf(err) {
		case 0:
			if i == 0 {
				epoch = r.Answer.(*messages.VramGrant).Epoch
			}
		case messages.GPUUnavailable, messages.NotFound, messages.Conflict, messages.InvalidArgument:
			others := slices.Delete(slices.Clone(p.Parts()), i, i+1)
			if err := h.release(ctx, others, "another device of the placement refused"); err != nil {
				return nil, err
			}
			return &messages.ReportReservationRefused{Id: p.Id, Error: messages.AsError(err).Body()}, nil
		default:
			return nil, err
		}
	}
	return &messages.ReportReserved{Id: p.Id, Epoch: epoch}, nil
}

// release sends parts home. Releasing what isn't held is no harm.
func (h hands) release(ctx context.Context, parts []*messages.Share, reason string) error {
	for _, part := range parts {
		gpu, err := messages.ParseActorID(part.Gpu)
		if err != nil {
			return err
		}
		_, err = h.door.Ask(ctx, gpu, &messages.ReleaseVram{Lease: part.Lease, Reason: reason})
		if err != nil && messages.CodeOf(err) != messages.NotFound { // a device that isn't there holds no lease
			return err
		}
	}
	return nil
}

func (h hands) handOver(ctx context.Context, p *messages.Placement) (proto.Message, error) {
	model, err := messages.ParseActorID(p.Model)
	if err != nil {
		return nil, err
	}
	_, err = h.door.Ask(ctx, model, &messages.StartLoad{Placement: p})
	switch messages.CodeOf(err) {
	case 0:
		return &messages.ClosePlacement{Id: p.Id, Reason: "handed over"}, nil
	case messages.FailedPrecondition, messages.ModelNotFound, messages.NotFound, messages.InvalidArgument:
		return &messages.AbandonPlacement{Id: p.Id, Reason: messages.AsError(err).Message}, nil
	}
	return nil, err
}

// moveOut asks a model to leave its device, as a victim is asked.
func (h hands) moveOut(ctx context.Context, e moveOut) (proto.Message, error) {
	model, err := messages.ParseActorID(e.Move.Model)
	if err != nil {
		return &messages.EndDefrag{Id: e.ID, Reason: err.Error()}, nil
	}
	r, err := h.door.Ask(ctx, model, &messages.EvictModel{Placement: moveKey(e.ID, e.N), Reason: "moves to " + e.Move.To})
	switch messages.CodeOf(err) {
	case 0:
		if d, ok := r.Answer.(*messages.Done); ok && d.Note == Gone {
			return &messages.ReportMoveLeft{Id: e.ID, Model: e.Move.Model}, nil
		}
		return nil, nil
	case messages.FailedPrecondition, messages.ModelNotFound, messages.NotFound: // pinned, loading or gone by now: the plan doesn't hold
		return &messages.EndDefrag{Id: e.ID, Reason: messages.AsError(err).Message}, nil
	}
	return nil, err
}

// moveKey is what a model leaves for when it moves.
func moveKey(plan string, n int) string { return fmt.Sprintf("%s/%d", plan, n) }

// bringBack asks for a model that left. It is still owed when that is taken: its new placement ends it. Somebody's unload since then wins:
// the plan doesn't hold any more.
func (h hands) bringBack(ctx context.Context, e bringBack) (proto.Message, error) {
	model, err := messages.ParseActorID(e.Move.Model)
	if err != nil {
		return &messages.EndDefrag{Id: e.ID, Reason: err.Error()}, nil
	}
	_, err = h.door.Ask(ctx, model, &messages.EnsureModel{LeftFor: moveKey(e.ID, e.N), Reason: "moves from " + e.Move.From + " to " + e.Move.To})
	switch messages.CodeOf(err) {
	case messages.FailedPrecondition, messages.ModelNotFound, messages.NotFound:
		return &messages.EndDefrag{Id: e.ID, Reason: messages.AsError(err).Message}, nil
	}
	return nil, err
}
