package goal

import (
	"context"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// hopeless tells that another try fails too. After other errors the work stays owed.
func hopeless(err error) bool {
	switch messages.CodeOf(err) {
	case messages.InvalidArgument, messages.NotFound, messages.ModelNotFound, messages.Conflict, messages.PermissionDenied, messages.Unsupported, messages.FailedPrecondition:
		return messages.AsError(err).Retry == 0
	}
	return false
}

// stageFailed reports what can't be done; what may pass stays owed.
func stageFailed(ctx context.Context, w Work, err error) (proto.Message, error) {
	if ctx.Err() != nil || !hopeless(err) {
		return nil, err
	}
	return &messages.ReportStageEnded{Run: w.Run, Stage: w.Stage, Error: messages.AsError(err).Body()}, nil
}

// makeJob makes the job of a stage. What serves is measured once for each version and data; when nothing serves, there is nothing to measure.
func (h ports) makeJob(ctx context.Context, e makeJob) (proto.Message, error) {
	version := e.Version
	if e.Stage == Comparing {
		serving, err := h.Versions.Serving(ctx, e.Spec.GetModel())
		if err != nil {
			return stageFailed(ctx, e.Work, err)
		}
		if serving == e.Version { // somebody has rolled it out
			serving = ""
		}
		if _, known := e.Bases[baseKey(e.Spec, serving)]; serving == "" || known {
			return &messages.ReportStageEnded{Run: e.Run, Stage: e.Stage, Version: serving}, nil
		}
		version = serving
	}
	spec, err := h.Recipes.Job(ctx, e.Work, version)
	if err == nil {
		err = h.Jobs.Submit(ctx, e.Job, spec)
	}
	if err != nil {
		return stageFailed(ctx, e.Work, err)
	}
	r := &messages.ReportRunJob{Run: e.Run, Stage: e.Stage}
	if e.Stage == Comparing {
		r.Version = version
	}
	return r, nil
}

func (h ports) await(ctx context.Context, e await) (proto.Message, error) {
	end, err := h.Jobs.Await(ctx, e.Job, e.Left)
	if messages.CodeOf(err) == messages.NotFound && ctx.Err() == nil {
		return &messages.ReportStageEnded{Run: e.Run, Stage: e.Stage, Error: messages.AsError(err).Body()}, nil
	}
	if err != nil {
		return nil, err
	}
	if !ended(end.Phase) {
		return &messages.ReportBudgetSpent{Run: e.Run, Stage: e.Stage, DeviceMs: end.DeviceMS}, nil
	}
	return &messages.ReportStageEnded{Run: e.Run, Stage: e.Stage, JobPhase: end.Phase, Outcome: end.Outcome, Error: end.Error, DeviceMs: end.DeviceMS}, nil
}

func ended(p messages.JobView_Phase) bool {
	return p == messages.JobView_completed || p == messages.JobView_failed || p == messages.JobView_cancelled
}

// stopJob ends a job and waits until it has ended. One that isn't known to exist is made first: a submission that is still on its way would come after
// the cancellation, and its job would run for nobody.
func (h ports) stopJob(ctx context.Context, e stopJob) (proto.Message, error) {
	if !e.Made {
		if r, err := h.makeJob(ctx, e.makeJob); err != nil {
			return nil, err
		} else if over, ok := r.(*messages.ReportStageEnded); ok {
			return over, nil
		}
	}
	if err := h.Jobs.Cancel(ctx, e.Job, e.Reason); err != nil && messages.CodeOf(err) != messages.NotFound {
		return nil, err
	}
	r, err := h.await(ctx, await{Run: e.Run, Stage: e.Stage, Job: e.Job})
	if _, over := r.(*messages.ReportStageEnded); over {
		return r, err
	}
	return nil, err
}

func (h ports) register(ctx context.Context, e register) (proto.Message, error) {
	version, err := h.Versions.Register(ctx, e.Work)
	if err != nil {
		return stageFailed(ctx, e.Work, err)
	}
	return &messages.ReportStageEnded{Run: e.Run, Stage: e.Stage, Version: version}, nil
}

// rollOut reports a version that was rolled back, whatever the reason: only an answer that didn't come is asked for again.
func (h ports) rollOut(ctx context.Context, e rollOut) (proto.Message, error) {
	err := h.Versions.RollOut(ctx, e.Work)
	if ctx.Err() != nil || messages.CodeOf(err) == messages.Unavailable {
		return nil, err
	}
	r := &messages.ReportStageEnded{Run: e.Run, Stage: e.Stage}
	if err != nil {
		r.Error = messages.AsError(err).Body()
	}
	return r, nil
}
