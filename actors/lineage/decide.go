package lineage

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/actors/entity"
	"modelops/messages"
)

// Rules are the configuration's.
type Rules struct {
	// Keep is how many versions that didn't win stay; 0 = 3.
	Keep int
}

func (r Rules) keep() int {
	if r.Keep <= 0 {
		return 3
	}
	return r.Keep
}

// Decide turns a command into facts.
func (r Rules) Decide(s State, command proto.Message, at entity.Stamp) (entity.Verdict, error) {
	now := timestamppb.New(at.Now)
	switch c := command.(type) {
	case *messages.RegisterVersion:
		return register(s, c, now)
	case *messages.ServeVersion:
		if v := s.of(c.Version); v == nil || v.State != Registered {
			return entity.Verdict{}, messages.Errorf(messages.NotFound, s.ID.String(), "it keeps no version %d", c.Version)
		}
		return entity.Facts(&messages.VersionServed{Version: c.Version, At: now}), nil
	case *messages.ReportVersionStored:
		if v := s.of(c.Version); v != nil && v.State == Storing {
			return entity.Facts(&messages.VersionRegistered{Version: c.Version, Path: c.Path, Sha256: c.Sha256, Bytes: c.Bytes, At: now}), nil
		}
		return entity.Verdict{}, nil
	case *messages.ReportVersionFailed:
		if v := s.of(c.Version); v != nil && v.State == Storing {
			return entity.Facts(&messages.VersionFailed{Version: c.Version, Error: c.Error, At: now}), nil
		}
		return entity.Verdict{}, nil
	case *messages.ReportVersionJudged:
		return r.judged(s, c, now)
	case *messages.ReportVersionRemoved:
		if v := s.of(c.Version); v != nil && v.State == Dropped && !v.Removed {
			return entity.Facts(&messages.VersionRemoved{Version: c.Version, FreedBytes: c.FreedBytes, At: now}), nil
		}
		return entity.Verdict{}, nil
	}
	return entity.Verdict{}, entity.Unknown(s.ID, command)
}

func register(s State, c *messages.RegisterVersion, now *timestamppb.Timestamp) (entity.Verdict, error) {
	o := c.GetOrigin()
	switch {
	case o.GetJob() == "" || o.GetPath() == "":
		return entity.Verdict{}, messages.NewError(messages.InvalidArgument, s.ID.String(), "a version needs the job that made it, and its file")
	case s.by(o.Job) != nil:
		return entity.Verdict{}, nil
	}
	return entity.Facts(&messages.VersionPlanned{Version: uint32(len(s.Versions)) + 1, Origin: o, At: now}), nil
}

// won is the result of a version that is better than what served.
var won = messages.GoalRun_won.String()

// judged notes what became of a version, and drops the oldest that didn't win when too many stay.
func (r Rules) judged(s State, c *messages.ReportVersionJudged, now *timestamppb.Timestamp) (entity.Verdict, error) {
	if v := s.of(c.Version); v == nil || v.Result != "" || v.State != Registered {
		return entity.Verdict{}, nil
	}
	e := &messages.VersionJudged{Version: c.Version, Result: c.Result, Reason: c.Reason, Metrics: c.Metrics, Against: c.Against, BaseMetrics: c.BaseMetrics, At: now}
	events := []proto.Message{e}
	var stay []*messages.ModelVersion
	for _, v := range Evolve(s, e, 0).Versions {
		if v.State == Registered && v.Result != "" && v.Result != won && v.ServedMs == 0 && !parents(s, v.Name) {
			stay = append(stay, v)
		}
	}
	for i := 0; i < len(stay)-r.keep(); i++ {
		events = append(events, &messages.VersionDropped{Version: stay[i].Number, Reason: "it didn't win, and newer ones that didn't are kept", At: now})
	}
	return entity.Facts(events...), nil
}

// parents tells whether a version that is being made was trained from another one, whose file it may still need.
func parents(s State, name string) bool {
	for _, v := range s.Versions {
		if v.State == Storing && v.GetOrigin().GetParent() == name {
			return true
		}
	}
	return false
}
