package job

import (
	"cmp"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/actors/entity"
	"modelops/messages"
)

// Rules is Decide with its configuration.
type Rules struct {
	// First and Longest are the pauses between attempts after failures: doubled from First up to Longest; 0 = 5 s and 5 min.
	First, Longest time.Duration
}

// pause before the attempt that follows n failures in a row; 0 = none follows.
func (r Rules) pause(n int, recipe *messages.Recipe) time.Duration {
	if n > int(cmp.Or(recipe.GetRetries(), 2)) {
		return 0
	}
	first, longest := cmp.Or(r.First, 5*time.Second), cmp.Or(r.Longest, 5*time.Minute)
	if n > 30 { // a shift that far has no meaning as a time
		return longest
	}
	return min(first<<(n-1), longest)
}

// Decide turns a command into facts.
func (r Rules) Decide(s State, command proto.Message, at entity.Stamp) (entity.Verdict, error) {
	now := timestamppb.New(at.Now)
	switch c := command.(type) {
	case *messages.SubmitJob:
		return submit(s, c, now)
	case *messages.QueryHolding:
		return entity.Verdict{Answer: func(uint64) proto.Message { return &messages.HoldingReply{Holds: s.holds(c.Lease, c.Epoch)} }}, nil
	}
	if s.Phase == Unsubmitted {
		return entity.Verdict{}, NotFound(s.ID)
	}
	switch c := command.(type) {
	case *messages.CancelJob:
		return cancel(s, c, now)
	case *messages.PauseJob:
		return pauseJob(s, c, now)
	case *messages.ResumeJob:
		return resume(s, c, now)
	case *messages.CheckpointJob:
		return checkpointJob(s, c, now)
	case *messages.StopJob:
		return stopJob(s, c, now)
	case *messages.DeleteJob:
		return deleteJob(s, c, now)
	case *messages.ReportJobFilesRemoved:
		if !s.Deleted || s.Removed {
			return stale()
		}
		return entity.Facts(&messages.JobFilesRemoved{Bytes: c.Bytes, At: now}), nil
	case *messages.PlacementGranted:
		return granted(s, c, at)
	case *messages.ReportJobPlacementFailed:
		return placementFailed(s, c, now)
	case *messages.Preempt:
		return preempt(s, c, now)
	case *messages.Reinstate:
		return reinstate(s, c)
	case *messages.ReportJobLeaseLost:
		return leaseLost(s, c, now)
	case *messages.ReportJobLeaseReturned:
		return leaseReturned(s, c, now)
	}
	return r.decideAttempt(s, command, now)
}

// decideAttempt is Decide for what is told of an attempt.
func (r Rules) decideAttempt(s State, command proto.Message, now *timestamppb.Timestamp) (entity.Verdict, error) {
	switch c := command.(type) {
	case *messages.ReportJobStarted:
		if c.Attempt != s.Attempt || !s.resident() || s.Runner != nil {
			return stale()
		}
		if c.Runner == nil {
			return entity.Verdict{}, messages.NewError(messages.InvalidArgument, s.ID.String(), "the report names no runner")
		}
		return entity.Facts(&messages.JobStarted{Attempt: c.Attempt, Runner: c.Runner, At: now}), nil
	case *messages.ReportJobStartFailed:
		if c.Attempt != s.Attempt || s.Phase != Reserved {
			return stale()
		}
		return r.broke(s, nil, c.Error, c.Retriable, now), nil
	case *messages.ReportCheckpoint:
		return acknowledge(s, c, now)
	case *messages.ReportJobEnded:
		return r.attemptEnded(s, c, now)
	case *messages.RetryStart:
		if c.Attempt != s.Attempt || s.RetryAtMS == 0 {
			return stale()
		}
		return entity.Facts(&messages.JobRetrying{Attempt: c.Attempt, At: now}), nil
	}
	return entity.Verdict{}, entity.Unknown(s.ID, command)
}

// stale drops a report of an attempt that is over: it is late, not wrong.
func stale() (entity.Verdict, error) {
	return noted("nothing to do: the attempt is over or already there")
}

func noted(note string) (entity.Verdict, error) {
	return entity.Verdict{Answer: func(uint64) proto.Message { return &messages.Done{Note: note} }}, nil
}

// NotFound is the refusal for a job that nobody submitted.
func NotFound(id messages.ActorID) *messages.Error {
	return messages.Errorf(messages.NotFound, id.String(), "no job %q was submitted on %s", id.Name(), id.Host())
}

// submit makes the job once. The same specification again changes nothing, whatever became of the job.
func submit(s State, c *messages.SubmitJob, now *timestamppb.Timestamp) (entity.Verdict, error) {
	switch {
	case s.Deleted:
		return entity.Verdict{}, messages.NewError(messages.Conflict, s.ID.String(), "a job of this id has ended and was deleted").WithHint("submit it under another id")
	case s.Phase != Unsubmitted && proto.Equal(s.Spec, c.Spec):
		return noted("already submitted: " + s.Phase.String())
	case s.Phase != Unsubmitted:
		return entity.Verdict{}, messages.Errorf(messages.Conflict, s.ID.String(), "another job was submitted under this id, and is %s", s.Phase).
			WithHint("submit it under another id; a job's specification never changes")
	}
	if err := check(s.ID, c.Spec); err != nil {
		return entity.Verdict{}, err
	}
	return entity.Facts(&messages.JobSubmitted{Spec: c.Spec, By: c.By, At: now}), nil
}

// mostDevices bounds the devices of one job.
const mostDevices = 64

// check refuses a specification that no attempt could follow.
func check(id messages.ActorID, spec *messages.JobSpec) error {
	recipe := spec.GetRecipe()
	wrong := func(what, hint string) error {
		return messages.NewError(messages.InvalidArgument, id.String(), what).WithHint(hint)
	}
	switch {
	case !messages.JobID.MatchString(id.Name()):
		return wrong("this id can't be used", "give it "+messages.GoodJobID)
	case spec == nil:
		return wrong("it has no specification", "give kind and recipe")
	case spec.Kind == messages.JobSpec_kind_unknown || messages.JobSpec_Kind_name[int32(spec.Kind)] == "":
		return wrong("its kind is unknown", "the kinds are fine_tune, rlhf, evaluate and custom")
	case len(recipe.GetCommand()) == 0 || recipe.Command[0] == "":
		return wrong("its recipe has no command", "a recipe's command is a program with its arguments")
	case !finite(recipe.Cpus) || recipe.Cpus < 0:
		return wrong("its CPU cores are no number from 0", "give 0 for no bound")
	case spec.Window != "" && windowError(spec.Window) != nil:
		return wrong(messages.AsError(windowError(spec.Window)).Message, messages.AsError(windowError(spec.Window)).Hint)
	case spec.RunsOn() > mostDevices:
		return messages.Errorf(messages.InvalidArgument, id.String(), "it wants %d devices at once, at most %d are possible", spec.RunsOn(), mostDevices)
	}
	return nil
}

func windowError(text string) error {
	_, err := messages.ParseWindow(text)
	return err
}

// stopping is the fact that the present attempt is to end.
func (s State) stopping(cause messages.StopCause, reason, by string, now *timestamppb.Timestamp) *messages.JobStopping {
	return &messages.JobStopping{Attempt: s.Attempt, Cause: cause, Reason: reason, By: by, At: now}
}

// cancel ends a job that has no processes at once, and stops those of another one first. It outweighs every other reason for a stop.
func cancel(s State, c *messages.CancelJob, now *timestamppb.Timestamp) (entity.Verdict, error) {
	switch {
	case s.over():
		return noted("it has ended already: " + s.Phase.String())
	case !s.resident():
		return entity.Facts(&messages.JobCancelled{Reason: c.Reason, By: c.By, At: now}), nil
	case s.Phase == Checkpointing && s.Stop.Cause == messages.StopCause_stop_cancelled:
		return noted("it is being cancelled")
	}
	return entity.Facts(s.stopping(messages.StopCause_stop_cancelled, c.Reason, c.By, now)), nil
}

// ended refuses an order to a job that has ended.
func (s State) ended() error {
	return messages.Errorf(messages.FailedPrecondition, s.ID.String(), "it has ended: it is %s", s.Phase).WithHint("submit it again under another id")
}

func pauseJob(s State, c *messages.PauseJob, now *timestamppb.Timestamp) (entity.Verdict, error) {
	switch {
	case s.over():
		return entity.Verdict{}, s.ended()
	case s.Phase == Paused:
		return noted("it is paused")
	case !s.resident():
		return entity.Facts(&messages.JobPaused{Reason: c.Reason, By: c.By, At: now}), nil
	case s.Phase == Checkpointing && s.Stop.Cause == messages.StopCause_stop_cancelled:
		return entity.Verdict{}, messages.NewError(messages.FailedPrecondition, s.ID.String(), "it is being cancelled")
	case s.Phase == Checkpointing && (s.Stop.Cause == messages.StopCause_stop_paused || s.Stop.Cause == messages.StopCause_stop_overtime):
		return noted("it is on its way out")
	}
	return entity.Facts(s.stopping(messages.StopCause_stop_paused, c.Reason, c.By, now)), nil
}

// resume has a paused job seek memory. One that is still on its way to its pause isn't paused when it gets there.
func resume(s State, c *messages.ResumeJob, now *timestamppb.Timestamp) (entity.Verdict, error) {
	switch {
	case s.over():
		return entity.Verdict{}, s.ended()
	case s.Phase == Paused, s.Phase == Checkpointing && s.Stop.Cause == messages.StopCause_stop_paused:
		return entity.Facts(&messages.JobResumed{By: c.By, At: now}), nil
	}
	return noted("it isn't paused: it is " + s.Phase.String())
}

// checkpointJob wants a checkpoint of a running attempt. It is asked for until one comes.
func checkpointJob(s State, c *messages.CheckpointJob, now *timestamppb.Timestamp) (entity.Verdict, error) {
	switch {
	case !writes(s.Spec):
		return entity.Verdict{}, messages.NewError(messages.Unsupported, s.ID.String(), "its recipe doesn't say how it is asked for a checkpoint").
			WithHint("set the recipe's checkpoint to signal or stdin, if its program understands that")
	case s.Phase == Checkpointing, s.Phase == Running && s.Asked:
		return noted("a checkpoint is asked for already")
	case s.Phase != Running:
		return entity.Verdict{}, messages.Errorf(messages.FailedPrecondition, s.ID.String(), "it doesn't run: it is %s", s.Phase)
	}
	return entity.Facts(&messages.JobCheckpointAsked{Attempt: s.Attempt, By: c.By, At: now}), nil
}

// stopJob ends the present attempt for a reason of the host. What it leaves already for stays the reason.
func stopJob(s State, c *messages.StopJob, now *timestamppb.Timestamp) (entity.Verdict, error) {
	switch c.Cause {
	case messages.StopCause_stop_overtime, messages.StopCause_stop_window, messages.StopCause_stop_drained, messages.StopCause_stop_inversion:
	default:
		return entity.Verdict{}, messages.Errorf(messages.InvalidArgument, s.ID.String(), "%s is no reason for which a host stops a job", c.Cause)
	}
	if c.Attempt != s.Attempt || s.Phase != Reserved && s.Phase != Running {
		return stale()
	}
	return entity.Facts(s.stopping(c.Cause, c.Reason, c.By, now)), nil
}

// deleteJob forgets a job that has ended.
func deleteJob(s State, c *messages.DeleteJob, now *timestamppb.Timestamp) (entity.Verdict, error) {
	switch {
	case s.Deleted:
		return noted("already deleted")
	case !s.over():
		return entity.Verdict{}, messages.Errorf(messages.FailedPrecondition, s.ID.String(), "it hasn't ended: it is %s", s.Phase).WithHint("cancel it first")
	}
	return entity.Facts(&messages.JobDeleted{By: c.By, At: now}), nil
}
