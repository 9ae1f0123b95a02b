package host

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
	case *messages.StartHost:
		if s.Running && s.BootID == c.BootId {
			return entity.Verdict{}, nil
		}
		return entity.Facts(&messages.HostStarted{BootId: c.BootId, Version: c.Version, ConfigRevision: c.ConfigRevision, At: now}), nil
	case *messages.StopHost:
		if !s.Running || s.BootID != c.BootId {
			return entity.Verdict{}, nil
		}
		return entity.Facts(&messages.HostStopped{BootId: c.BootId, Reason: c.Reason, At: now}), nil
	case *messages.RecordConfig:
		if s.Revision == c.Revision && len(c.Changes) == 0 {
			return entity.Verdict{}, nil
		}
		return entity.Facts(&messages.ConfigApplied{Revision: c.Revision, Changes: c.Changes, At: now}), nil
	case *messages.ReportGaveUp:
		if _, ok := s.GaveUp[c.Actor]; ok {
			return entity.Verdict{}, nil
		}
		return entity.Facts(&messages.ActorGaveUp{Actor: c.Actor, Reason: c.Reason, Failures: c.Failures, At: now}), nil
	case *messages.ReportStray:
		return entity.Facts(&messages.StrayWorker{Pid: c.Pid, Nonce: c.Nonce, Reason: c.Reason, At: now}), nil
	case *messages.RestartActor:
		if _, ok := s.GaveUp[c.Actor]; !ok {
			return entity.Verdict{}, messages.Errorf(messages.FailedPrecondition, c.Actor, "the actor hasn't given up")
		}
		return entity.Facts(&messages.ActorRevived{Actor: c.Actor, At: now}), nil
	case *messages.StartDrain:
		if s.Draining {
			return entity.Verdict{}, nil
		}
		return entity.Facts(&messages.HostDraining{Reason: c.Reason, At: now}), nil
	case *messages.EndDrain:
		if !s.Draining {
			return entity.Verdict{}, nil
		}
		return entity.Facts(&messages.HostDrainEnded{Reason: c.Reason, At: now}), nil
	case *messages.SwapModel:
		return swapModel(s, c, at)
	case *messages.PromoteSwap:
		return promoteSwap(s, c, now)
	case *messages.RollbackSwap:
		return rollbackSwap(s, c, at)
	case *messages.ReportRolloutReady:
		return reportReady(s, c, now)
	case *messages.ReportRolloutFailed:
		return reportFailed(s, c, now)
	case *messages.ReportRolloutJudged:
		return reportJudged(s, c, now)
	case *messages.ReportRolloutSettled:
		return reportSettled(s, c, now)
	case *messages.ReviewRoutes:
		return reviewRoutes(s, c, at)
	}
	return entity.Verdict{}, entity.Unknown(s.ID, command)
}
