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

// Ledgers shows the devices' latest reports. They are advice: the owner decides.
type Ledgers interface {
	Ledgers() []*messages.GpuView
}

type (
	reserve struct{ Placement *messages.Placement }
	handOn  struct{ Placement *messages.Placement }
	release struct{ Placement *messages.Placement }
)

func (e reserve) Key() string { return "reserve/" + e.Placement.Id }
func (e handOn) Key() string  { return "hand_over/" + e.Placement.Id }
func (e release) Key() string { return "release/" + e.Placement.Id }

// Owed lists the next step of each open placement.
func Owed(s State) []entity.Effect {
	var out []entity.Effect
	for _, id := range slices.Sorted(maps.Keys(s.Open)) {
		o := s.Open[id]
		switch o.Step {
		case Decided:
			out = append(out, reserve{o.Placement})
		case Reserved:
			out = append(out, handOn{o.Placement})
		case Releasing:
			out = append(out, release{o.Placement})
		}
	}
	return out
}

// askWithin bounds one question to an owner; the work stays owed when there is no answer.
const askWithin = 5 * time.Second

type hands struct{ door messages.Door }

func (h hands) perform(ctx context.Context, effect entity.Effect) (proto.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	switch e := effect.(type) {
	case reserve:
		return h.reserve(ctx, e.Placement)
	case handOn:
		return h.handOver(ctx, e.Placement)
	case release:
		gpu, err := messages.ParseActorID(e.Placement.Gpu)
		if err != nil {
			return nil, err
		}
		if _, err := h.door.Ask(ctx, gpu, &messages.ReleaseVram{Lease: e.Placement.Lease, Reason: "the placement was abandoned"}); err != nil {
			return nil, err
		}
		return &messages.ClosePlacement{Id: e.Placement.Id, Reason: "abandoned"}, nil
	}
	panic(fmt.Sprintf("the arbiter owes no %T", effect))
}

func (h hands) reserve(ctx context.Context, p *messages.Placement) (proto.Message, error) {
	gpu, err := messages.ParseActorID(p.Gpu)
	if err != nil {
		return nil, err
	}
	r, err := h.door.Ask(ctx, gpu, &messages.ReserveVram{Lease: p.Lease, Holder: p.Model, Bytes: p.Bytes})
	switch messages.CodeOf(err) {
	case 0:
		return &messages.ReportReserved{Id: p.Id, Epoch: r.Answer.(*messages.VramGrant).Epoch}, nil
	case messages.GPUUnavailable, messages.NotFound, messages.Conflict, messages.InvalidArgument:
		return &messages.ReportReservationRefused{Id: p.Id, Error: messages.AsError(err).Body()}, nil
	}
	return nil, err
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
	case messages.FailedPrecondition, messages.ModelNotFound, messages.NotFound:
		return &messages.AbandonPlacement{Id: p.Id, Reason: messages.AsError(err).Message}, nil
	}
	return nil, err
}
