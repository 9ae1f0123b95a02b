package job

import (
	"fmt"
	"maps"
	"math"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/actors/entity"
	"modelops/messages"
)

// acknowledge notes a verified checkpoint. Steps only grow within a job, whatever a trainer says: one that begins anew has to pass the last one first.
func acknowledge(s State, c *messages.ReportCheckpoint, now *timestamppb.Timestamp) (entity.Verdict, error) {
	switch {
	case c.Attempt != s.Attempt, s.Runner == nil, c.Checkpoint.GetStep() <= s.step():
		return stale()
	case c.Checkpoint.Path == "":
		return entity.Verdict{}, messages.NewError(messages.InvalidArgument, s.ID.String(), "the checkpoint has no path")
	}
	return entity.Facts(&messages.CheckpointAcknowledged{Attempt: c.Attempt, Checkpoint: c.Checkpoint, At: now}), nil
}

// attemptEnded ends the present attempt. What is done is done, whatever was to become of it.
func (r Rules) attemptEnded(s State, c *messages.ReportJobEnded, now *timestamppb.Timestamp) (entity.Verdict, error) {
	switch {
	case c.Attempt != s.Attempt, s.Phase != Running && s.Phase != Checkpointing:
		return stale()
	case c.Outcome == nil:
		return entity.Verdict{}, messages.NewError(messages.InvalidArgument, s.ID.String(), "the report has no outcome")
	}
	o := storable(c.Outcome)
	switch {
	case o.End == messages.JobOutcome_done:
		return entity.Facts(&messages.JobCompleted{Attempt: s.Attempt, Outcome: o, At: now}), nil
	case s.Phase == Checkpointing:
		return entity.Facts(s.left(o, now)), nil
	}
	retriable := o.End != messages.JobOutcome_broke || o.Retriable // who ended otherwise said nothing of the work
	return r.broke(s, o, nil, retriable, now), nil
}

// storable is an outcome without figures that are no numbers, such as the loss of a training that diverged: a state with one has no JSON.
func storable(o *messages.JobOutcome) *messages.JobOutcome {
	o = proto.CloneOf(o)
	maps.DeleteFunc(o.Metrics, func(_ string, v float64) bool { return !finite(v) })
	return o
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// left is what becomes of an attempt that was stopped: what it was stopped for, unless the job's time is over.
func (s State) left(o *messages.JobOutcome, now *timestamppb.Timestamp) proto.Message {
	switch {
	case s.Stop.Cause == messages.StopCause_stop_cancelled:
		return &messages.JobCancelled{Reason: s.Stop.Reason, By: s.Stop.By, Outcome: o, At: now}
	case s.Stop.Cause == messages.StopCause_stop_overtime, s.overtime(o, now):
		return &messages.JobFailed{Attempt: s.Attempt, Error: s.tooLong().Body(), Outcome: o, At: now}
	case s.Stop.Cause == messages.StopCause_stop_paused:
		return &messages.JobPaused{Reason: s.Stop.Reason, By: s.Stop.By, Outcome: o, At: now}
	}
	return &messages.JobPreempted{Attempt: s.Attempt, Cause: s.Stop.Cause, Reason: s.Stop.Reason, Outcome: o, At: now}
}

// broke is what follows an attempt that failed: another one after a pause, one with the recipe's smaller setting, or the job's end. o is nil when no
// process ran; e is then why.
func (r Rules) broke(s State, o *messages.JobOutcome, e *messages.ErrorBody, retriable bool, now *timestamppb.Timestamp) entity.Verdict {
	recipe := s.Spec.GetRecipe()
	if o != nil {
		e = s.failure(o).Body()
	}
	e = withoutLog(e)
	next := func(pause time.Duration, smaller bool) entity.Verdict {
		return entity.Facts(&messages.JobAttemptFailed{Attempt: s.Attempt, Error: e, RetryMs: pause.Milliseconds(), Smaller: smaller, Outcome: o, At: now})
	}
	pause := r.pause(s.Failures+1, recipe)
	switch {
	case s.overtime(o, now):
		e = s.tooLong().Body()
	case o.GetOutOfMemory() && !s.Smaller && len(recipe.GetSmaller()) > 0:
		return next(max(r.pause(1, recipe), time.Millisecond), true)
	case o.GetOutOfMemory(): // the same setting would need as much again
	case retriable && pause > 0:
		return next(pause, false)
	case retriable:
		e.Message = fmt.Sprintf("it failed %d times in a row without a new checkpoint: %s", s.Failures+1, e.Message)
	}
	return entity.Facts(&messages.JobFailed{Attempt: s.Attempt, Error: e, Outcome: o, At: now})
}

// withoutLog is an error without the process's last lines, which may hold secrets: they stay in its log.
func withoutLog(e *messages.ErrorBody) *messages.ErrorBody {
	if e == nil {
		return &messages.ErrorBody{Code: messages.JobError.String(), Message: "it could not be started"}
	}
	e = proto.CloneOf(e)
	e.Log = nil
	return e
}

// failure is an outcome as an error.
func (s State) failure(o *messages.JobOutcome) *messages.Error {
	if o.OutOfMemory {
		return s.shortage(o)
	}
	what := "its attempt was lost: nobody saw how it ended"
	switch o.End {
	case messages.JobOutcome_broke:
		what = fmt.Sprintf("its trainer ended with exit code %d", o.ExitCode)
	case messages.JobOutcome_stopped:
		what = "its trainer was stopped, and nobody here asked for that"
	}
	if o.Reason != "" {
		what += ": " + o.Reason
	}
	return messages.NewError(messages.JobError, s.ID.String(), what).WithHint("the attempt's log says more").WithLogFile(o.LogFile)
}

// shortage is the failure of an attempt that ran out of device memory, with the sums.
func (s State) shortage(o *messages.JobOutcome) *messages.Error {
	what := "device memory ran out: " + messages.FormatBytes(s.Placement.Bytes()) + " were reserved for it on "
	for i, share := range s.Placement.GetShares() {
		if i > 0 {
			what += " and "
		}
		what += share.Gpu
	}
	if o.PeakBytes > 0 {
		what += ", and its processes held " + messages.FormatBytes(o.PeakBytes)
	}
	switch {
	case s.Smaller:
		what += "; it used its recipe's smaller setting already"
	case len(s.Spec.GetRecipe().GetSmaller()) > 0:
		what += "; its recipe's smaller setting is tried"
	default:
		what += "; its recipe has no smaller setting"
	}
	return messages.NewError(messages.JobError, s.ID.String(), what).
		WithHint("give the recipe a smaller setting, such as a smaller batch, or reserve more with vram_bytes").WithLogFile(o.LogFile)
}

// wall is the longest time of all attempts together; 0 = no bound.
func (s State) wall() time.Duration {
	return time.Duration(s.Spec.GetRecipe().GetWallSeconds()) * time.Second
}

// overtime tells whether the job's time is over with an attempt's outcome.
func (s State) overtime(o *messages.JobOutcome, now *timestamppb.Timestamp) bool {
	if o.GetEnd() == messages.JobOutcome_overtime {
		return true
	}
	ran := ended(s, o, now.AsTime().UnixMilli()).RanMS
	return s.wall() > 0 && ran >= s.wall().Milliseconds()
}

func (s State) tooLong() *messages.Error {
	return messages.Errorf(messages.JobError, s.ID.String(), "its time is over: all attempts together may run for %s", s.wall()).
		WithHint("give the recipe more wall_seconds, or fewer steps")
}
