package lineage

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/messages"
)

// State is the fold of one lineage's journal.
type State struct {
	ID       messages.ActorID
	Versions []*messages.ModelVersion // version N is at N-1; a value is never changed, but replaced
}

// New is a model without versions.
func New(id messages.ActorID) State { return State{ID: id} }

// The states of a version.
const (
	Storing    = messages.ModelVersion_storing
	Registered = messages.ModelVersion_registered
	Failed     = messages.ModelVersion_failed
	Dropped    = messages.ModelVersion_dropped
)

func ms(at *timestamppb.Timestamp) int64 {
	if at == nil {
		return 0
	}
	return at.AsTime().UnixMilli()
}

// of is a version by its number; nil when there is none.
func (s State) of(number uint32) *messages.ModelVersion {
	if number == 0 || int(number) > len(s.Versions) {
		return nil
	}
	return s.Versions[number-1]
}

// by is the version of a job; nil when there is none.
func (s State) by(job string) *messages.ModelVersion {
	i := slices.IndexFunc(s.Versions, func(v *messages.ModelVersion) bool { return v.GetOrigin().GetJob() == job })
	if i < 0 {
		return nil
	}
	return s.Versions[i]
}

// Evolve folds an event.
func Evolve(s State, event proto.Message, _ uint64) State {
	switch e := event.(messages.LineageEvent).(type) {
	case *messages.VersionPlanned:
		v := &messages.ModelVersion{Number: e.Version, Name: messages.VersionName(s.ID.Name(), e.Version), State: Storing, Origin: e.Origin, MadeMs: ms(e.At),
			Metrics: e.GetOrigin().GetMetrics()}
		s.Versions = append(slices.Clone(s.Versions), v)
	case *messages.VersionRegistered:
		s = s.with(e.Version, func(v *messages.ModelVersion) {
			v.State, v.Path, v.Sha256, v.Bytes = Registered, e.Path, e.Sha256, e.Bytes
		})
	case *messages.VersionFailed:
		s = s.with(e.Version, func(v *messages.ModelVersion) { v.State, v.Error = Failed, e.Error })
	case *messages.VersionJudged:
		s = s.with(e.Version, func(v *messages.ModelVersion) {
			v.Result, v.Reason, v.Against, v.BaseMetrics = e.Result, e.Reason, e.Against, e.BaseMetrics
			if len(e.Metrics) > 0 {
				v.Metrics = maps.Clone(e.Metrics)
			}
		})
	case *messages.VersionServed:
		s = s.with(e.Version, func(v *messages.ModelVersion) { v.ServedMs = ms(e.At) })
	case *messages.VersionDropped:
		s = s.with(e.Version, func(v *messages.ModelVersion) { v.State, v.DroppedMs, v.Reason = Dropped, ms(e.At), e.Reason })
	case *messages.VersionRemoved:
		s = s.with(e.Version, func(v *messages.ModelVersion) { v.Removed = true })
	}
	return s
}

// with changes a version. One that isn't there can't be in the journal; then nothing happens.
func (s State) with(number uint32, change func(*messages.ModelVersion)) State {
	was := s.of(number)
	if was == nil {
		return s
	}
	v := proto.CloneOf(was)
	change(v)
	s.Versions = slices.Clone(s.Versions)
	s.Versions[number-1] = v
	return s
}

// View is what is shown of the lineage.
func View(s State) proto.Message {
	out := &messages.LineageView{Id: s.ID.String(), Host: s.ID.Host(), Name: s.ID.Name(), Versions: s.Versions}
	for _, v := range s.Versions {
		if !v.Removed {
			out.Bytes += v.Bytes
		}
	}
	return out
}
