package lineage

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// Files keeps the files of versions.
type Files interface {
	// Store copies a file to where the version's stays, whole and durable or not at all, and checks its checksum. NotFound, Conflict and InvalidArgument mean
	// that it can't be; after other errors it is tried again.
	Store(ctx context.Context, model string, number uint32, from *messages.VersionOrigin) (path, sha256 string, bytes uint64, err error)
	// Remove deletes the files of a version; nothing that is there is no error.
	Remove(ctx context.Context, model string, number uint32) (freed uint64, err error)
}

// Runs tells what became of goals' runs.
type Runs interface {
	// Await waits for the end of a run. NotFound: nobody can tell any more.
	Await(ctx context.Context, goal string, run uint32) (*messages.GoalRun, error)
}

// World is what a lineage actor touches.
type World struct {
	Files Files
	Runs  Runs
}

// The work that a lineage owes.
type (
	store struct {
		Model  string
		Number uint32
		Origin *messages.VersionOrigin
	}
	judge struct {
		Number uint32
		Goal   string
		Run    uint32
	}
	remove struct {
		Model  string
		Number uint32
	}
)

func (e store) Key() string  { return fmt.Sprintf("store/%d", e.Number) }
func (e judge) Key() string  { return fmt.Sprintf("judge/%d", e.Number) }
func (e remove) Key() string { return fmt.Sprintf("remove/%d", e.Number) }

// Owed lists the work that the state owes.
func Owed(s State) (out []entity.Effect) {
	for _, v := range s.Versions {
		switch {
		case v.State == Storing:
			out = append(out, store{s.ID.Name(), v.Number, v.Origin})
		case v.State == Registered && v.Result == "":
			out = append(out, judge{v.Number, v.GetOrigin().GetGoal(), v.GetOrigin().GetRun()})
		case v.State == Dropped && !v.Removed:
			out = append(out, remove{s.ID.Name(), v.Number})
		}
	}
	return out
}

func (w World) perform(ctx context.Context, effect entity.Effect) (proto.Message, error) {
	switch e := effect.(type) {
	case store:
		return w.store(ctx, e)
	case judge:
		return w.judge(ctx, e)
	case remove:
		freed, err := w.Files.Remove(ctx, e.Model, e.Number)
		if err != nil {
			return nil, err
		}
		return &messages.ReportVersionRemoved{Version: e.Number, FreedBytes: freed}, nil
	}
	panic(fmt.Sprintf("a lineage owes no %T", effect))
}

func (w World) store(ctx context.Context, e store) (proto.Message, error) {
	path, sha, bytes, err := w.Files.Store(ctx, e.Model, e.Number, e.Origin)
	switch code := messages.CodeOf(err); {
	case err == nil:
		return &messages.ReportVersionStored{Version: e.Number, Path: path, Sha256: sha, Bytes: bytes}, nil
	case ctx.Err() == nil && (code == messages.NotFound || code == messages.Conflict || code == messages.InvalidArgument):
		return &messages.ReportVersionFailed{Version: e.Number, Error: messages.AsError(err).Body()}, nil
	}
	return nil, err
}

func (w World) judge(ctx context.Context, e judge) (proto.Message, error) {
	run, err := w.Runs.Await(ctx, e.Goal, e.Run)
	switch {
	case err == nil:
		return &messages.ReportVersionJudged{Version: e.Number, Result: run.Result.String(), Reason: run.Reason, Metrics: run.Metrics, Against: run.BaseVersion, BaseMetrics: run.BaseMetrics}, nil
	case ctx.Err() == nil && messages.CodeOf(err) == messages.NotFound:
		return &messages.ReportVersionJudged{Version: e.Number, Result: "unknown", Reason: messages.AsError(err).Message}, nil
	}
	return nil, err
}
