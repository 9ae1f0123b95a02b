package arbiter

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/actors/entity"
	"modelops/messages"
)

// Decide turns a command into facts.
func Decide(s State, command proto.Message, at entity.Stamp) (entity.Verdict, error) {
	now := timestamppb.New(at.Now)
	switch c := command.(type) {
	case *messages.PlaceModel:
		return placeModel(s, c, at)
	case *messages.ReportReserved:
		if o, ok := s.Open[c.Id]; !ok || o.Step != Decided {
			return entity.Verdict{}, nil
		}
		return facts(&messages.PlacementReserved{Id: c.Id, Epoch: c.Epoch, At: now}), nil
	case *messages.ReportReservationRefused:
		if o, ok := s.Open[c.Id]; !ok || o.Step != Decided {
			return entity.Verdict{}, nil
		}
		return facts(&messages.PlacementRefused{Id: c.Id, Error: c.Error, At: now}), nil
	case *messages.AbandonPlacement:
		if o, ok := s.Open[c.Id]; !ok || o.Step == Releasing {
			return entity.Verdict{}, nil
		}
		return facts(&messages.PlacementAbandoned{Id: c.Id, Reason: c.Reason, At: now}), nil
	case *messages.ClosePlacement:
		if _, ok := s.Open[c.Id]; !ok {
			return entity.Verdict{}, nil
		}
		return facts(&messages.PlacementClosed{Id: c.Id, Reason: c.Reason, At: now}), nil
	}
	return entity.Verdict{}, entity.Unknown(s.ID, command)
}

func facts(events ...proto.Message) entity.Verdict { return entity.Verdict{Events: events} }

// placeModel decides once for an attempt; asking again tells how far that decision is. An owner's refusal is told once:
// the next question for the same attempt is decided anew, with the ledgers as they are then.
func placeModel(s State, c *messages.PlaceModel, at entity.Stamp) (entity.Verdict, error) {
	if c.Model == "" || c.Attempt == 0 {
		return entity.Verdict{}, messages.NewError(messages.InvalidArgument, s.ID.String(), "a placement needs a model and its attempt")
	}
	if o, ok := s.openFor(c.Model, c.Attempt); ok {
		return answer(o.Placement), nil
	}
	candidates := s.weigh(c.NeedBytes, c.Ledgers)
	chosen := firstFit(candidates)
	if chosen == nil {
		return entity.Verdict{}, nowhere(c.Model, c.NeedBytes, candidates)
	}
	gpu, err := messages.ParseActorID(chosen.Gpu)
	if err != nil {
		return entity.Verdict{}, err
	}
	p := &messages.Placement{Id: at.ID, Model: c.Model, Attempt: c.Attempt, Host: gpu.Host(), Gpu: chosen.Gpu, Bytes: c.NeedBytes, Lease: at.ID}
	v := answer(p)
	v.Events = []proto.Message{&messages.PlacementDecided{Placement: p, Policy: "first_fit", Candidates: candidates, At: timestamppb.New(at.Now)}}
	return v, nil
}

func answer(p *messages.Placement) entity.Verdict {
	return entity.Verdict{Answer: func(uint64) proto.Message { return &messages.PlacementReply{Placement: p} }}
}
