package control

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"modelops/actors/goal"
	"modelops/messages"
)

// GoalWork is what goals of this host do: it makes their jobs as SubmitJob does. It implements goal.Jobs, goal.Recipes and goal.Versions.
type GoalWork struct {
	*Control
	// Recovered waits until every actor of the journal is back: before, a view that isn't there says nothing.
	Recovered func(ctx context.Context) error
}

// Job implements goal.Recipes.
func (g GoalWork) Job(ctx context.Context, w goal.Work, version string) (*messages.JobSpec, error) {
	if err := g.Recovered(ctx); err != nil {
		return nil, err
	}
	r, evaluates := trainingOf(w.Goal, w.Spec, w.Parameters), w.Stage != goal.Training
	if evaluates {
		r = evaluationOf(w.Goal, w.Spec)
	}
	r.JobId = w.Job.Name()
	_, spec, err := g.specified(ctx, r)
	if err != nil {
		return nil, goalField(err, evaluates)
	}
	switch {
	case evaluates && version == "": // a trial, of which no version is made
		a, err := g.artifact(w.Trained)
		if err != nil {
			return nil, err
		}
		spec.Base = a.Path
	case evaluates:
		spec.Base, err = g.versionFile(version)
	case w.Spec.Model != "": // each run goes on from what serves
		if serving := g.serving(w.Spec.Model); serving != w.Spec.Model {
			if path, err := g.versionFile(serving); err == nil {
				spec.Base = path
			}
		}
	}
	return spec, err
}

// artifact is what a job left: a model's file, where it left several.
func (g GoalWork) artifact(job messages.ActorID) (*messages.Artifact, error) {
	left := g.o.View.Job(job).GetOutcome().GetArtifacts()
	if len(left) == 0 {
		return nil, messages.NewError(messages.FailedPrecondition, job.String(), "it left no file").WithHint("a trainer says what it made: docs/trainers.md")
	}
	if i := slices.IndexFunc(left, func(a *messages.Artifact) bool { return strings.HasSuffix(a.Path, ".gguf") }); i > 0 {
		return left[i], nil
	}
	return left[0], nil
}

// Submit implements goal.Jobs.
func (g GoalWork) Submit(ctx context.Context, id messages.ActorID, spec *messages.JobSpec) error {
	if err := g.Recovered(ctx); err != nil {
		return err
	}
	if v := g.o.View.Job(id); v.GetSpec() != nil && v.Spec.Goal == spec.Goal {
		return nil // by an earlier try
	}
	if err := g.admit(ctx, id, spec); err != nil {
		return err
	}
	by := spec.Goal
	if of, err := messages.ParseActorID(spec.Goal); err == nil {
		by = cmp.Or(g.o.View.Goal(of).GetBy(), spec.Goal) // its quota is that of the one who made the goal
	}
	_, err := g.o.Door.Ask(ctx, id, &messages.SubmitJob{Spec: spec, By: by})
	return err
}

// longestLook is how long Await sleeps at most: device time passes without a change of views.
const longestLook = time.Second

// Await implements goal.Jobs.
func (g GoalWork) Await(ctx context.Context, id messages.ActorID, leftMS int64) (goal.JobEnd, error) {
	if err := g.Recovered(ctx); err != nil {
		return goal.JobEnd{}, err
	}
	for {
		changed := g.o.View.Changed()
		v := g.o.View.Job(id)
		if v.GetSpec() == nil {
			return goal.JobEnd{}, messages.NewError(messages.NotFound, id.String(), "nobody knows the job any more")
		}
		end := goal.JobEnd{Phase: v.Phase, Outcome: v.Outcome, Error: v.Error, DeviceMS: v.DeviceMs}
		if v.EndedMs > 0 {
			return end, nil
		}
		if v.BeganMs > 0 {
			end.DeviceMS += max(g.o.Now().UnixMilli()-v.BeganMs, 0) * int64(max(len(v.GetPlacement().GetShares()), 1))
		}
		if leftMS > 0 && end.DeviceMS >= leftMS {
			return end, nil
		}
		look := time.NewTimer(longestLook)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-look.C:
		}
		look.Stop()
		if ctx.Err() != nil {
			return goal.JobEnd{}, messages.AsError(context.Cause(ctx))
		}
	}
}

// Cancel implements goal.Jobs.
func (g GoalWork) Cancel(ctx context.Context, id messages.ActorID, reason string) error {
	_, err := g.o.Door.Ask(ctx, id, &messages.CancelJob{Reason: reason})
	return err
}

var (
	_ goal.Jobs     = GoalWork{}
	_ goal.Recipes  = GoalWork{}
	_ goal.Versions = GoalWork{}
)
