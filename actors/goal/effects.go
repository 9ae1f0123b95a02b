package goal

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// Jobs makes a goal's jobs and waits for them.
type Jobs interface {
	// Submit makes a job. A job of this name that serves the goal already is taken as it is, whatever the specification: it was made by an earlier try.
	// InvalidArgument, NotFound, ModelNotFound, Conflict, PermissionDenied and Unsupported mean that it can't be made; after other errors it is tried again.
	Submit(ctx context.Context, id messages.ActorID, spec *messages.JobSpec) error
	// Await waits for the job's end, or until its device time is leftMS (0 = no bound): then it returns with the phase that the job has. NotFound: nobody
	// knows the job any more. Other errors say nothing of it.
	Await(ctx context.Context, id messages.ActorID, leftMS int64) (JobEnd, error)
	// Cancel has the job end. It returns before that; nil also when the job has ended.
	Cancel(ctx context.Context, id messages.ActorID, reason string) error
}

// JobEnd is what Await saw.
type JobEnd struct {
	Phase    messages.JobView_Phase
	Outcome  *messages.JobOutcome
	Error    *messages.ErrorBody
	DeviceMS int64
}

// Recipes knows the configuration.
type Recipes interface {
	// Job is the specification of a stage's job. version is the one that is evaluated: the run's own, or the one that serves.
	Job(ctx context.Context, w Work, version string) (*messages.JobSpec, error)
}

// Versions keeps the versions of models.
type Versions interface {
	// Register makes a version of what the run's job left; the same one when it is asked again. Unavailable: it is tried again.
	Register(ctx context.Context, w Work) (version string, err error)
	// Serving is the version that a model's requests get; empty when none does.
	Serving(ctx context.Context, model string) (string, error)
	// RollOut has the run's version serve, with a canary if the goal says so, and waits until it does. An error other than Unavailable says that it was
	// rolled back.
	RollOut(ctx context.Context, w Work) error
}

// Work is what a stage needs to know.
type Work struct {
	Goal       messages.ActorID
	Spec       *messages.GoalSpec
	Run        uint32
	Stage      Stage
	Parameters map[string]string
	Version    string           // that was registered
	Job        messages.ActorID // of this stage
	Trained    messages.ActorID // the job that trained
}

// The work that a goal owes. Each key has the run and the stage, so that late reports are recognised.
type (
	plan    struct{ Run uint32 }
	makeJob struct {
		Work
		Bases map[string]map[string]float64
	}
	await struct {
		Run   uint32
		Stage Stage
		Job   messages.ActorID
		Left  int64
	}
	register struct{ Work }
	rollOut  struct{ Work }
	deadline struct{ AtMS int64 }
	stopJob  struct {
		makeJob
		Made   bool
		Reason string
	}
)

func (e plan) Key() string     { return fmt.Sprintf("plan/%d", e.Run) }
func (e makeJob) Key() string  { return fmt.Sprintf("job/%d/%s", e.Run, e.Stage) }
func (e await) Key() string    { return fmt.Sprintf("await/%d/%s/%d", e.Run, e.Stage, e.Left) }
func (e register) Key() string { return fmt.Sprintf("register/%d", e.Run) }
func (e rollOut) Key() string  { return fmt.Sprintf("rollout/%d", e.Run) }
func (e deadline) Key() string { return fmt.Sprintf("deadline/%d", e.AtMS) }
func (e stopJob) Key() string  { return fmt.Sprintf("stop/%d/%s", e.Run, e.Stage) }

// Owed lists the work that the state owes.
func Owed(s State) []entity.Effect {
	var out []entity.Effect
	if s.Spec == nil {
		return nil
	}
	if s.Over() {
		if s.Run != nil && withJob(s.Run.Stage) {
			out = append(out, stopJob{makeJob{s.work(), s.Bases}, s.Run.Made, "its goal has ended: " + s.Phase.String()})
		}
		return out
	}
	if s.Spec.Deadline != nil {
		out = append(out, deadline{ms(s.Spec.Deadline)})
	}
	switch r := s.Run; {
	case r == nil && s.Phase == Active:
		out = append(out, plan{s.Count + 1})
	case r == nil:
	case r.Made:
		out = append(out, await{r.Number, r.Stage, s.work().Job, s.left()})
	case s.Phase != Active:
	case r.Stage == Registering:
		out = append(out, register{s.work()})
	case r.Stage == RollingOut:
		out = append(out, rollOut{s.work()})
	default:
		out = append(out, makeJob{s.work(), s.Bases})
	}
	return out
}

// work is what the present stage needs to know.
func (s State) work() Work {
	job := func(stage Stage) messages.ActorID {
		return messages.ActorID{Kind: messages.KindJob, ID: s.ID.Host() + "/" + jobName(s.ID, *s.Run, stage)}
	}
	return Work{Goal: s.ID, Spec: s.Run.Spec, Run: s.Run.Number, Stage: s.Run.Stage, Parameters: s.Run.Parameters, Version: s.Run.Version,
		Job: job(s.Run.Stage), Trained: job(Training)}
}

type ports struct{ World }

func (h ports) perform(ctx context.Context, effect entity.Effect) (proto.Message, error) {
	switch e := effect.(type) {
	case plan:
		return &messages.PlanRun{Run: e.Run}, nil
	case deadline:
		if err := h.until(ctx, time.UnixMilli(e.AtMS)); err != nil {
			return nil, err
		}
		return &messages.ReportDeadline{}, nil
	case makeJob:
		return h.makeJob(ctx, e)
	case await:
		return h.await(ctx, e)
	case stopJob:
		return h.stopJob(ctx, e)
	case register:
		return h.register(ctx, e)
	case rollOut:
		return h.rollOut(ctx, e)
	}
	panic(fmt.Sprintf("a goal owes no %T", effect))
}

// longestSleep is how long a timer sleeps at most: a clock that was set on, or a machine that slept, is seen after it.
const longestSleep = time.Minute

func (h ports) until(ctx context.Context, at time.Time) error {
	for left := at.Sub(h.Now()); left > 0; left = at.Sub(h.Now()) {
		if err := entity.Pause(ctx, min(left, longestSleep)); err != nil {
			return err
		}
	}
	return ctx.Err()
}
