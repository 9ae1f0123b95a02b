package job

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// start starts the attempt, unless its memory was given to others meanwhile: its arbiter may have been cut off for so long.
func (h ports) start(ctx context.Context, e start) (proto.Message, error) {
	if e.Placement.GetArbiterEpoch() > 0 {
		if lost, err := h.verify(ctx, verify{Placement: e.Placement, Attempt: e.Attempt}); lost != nil || err != nil {
			return lost, err
		}
	}
	r, err := h.trainer.Start(ctx, e.Launch)
	if err != nil && (ctx.Err() != nil || unknown(err)) {
		return nil, err
	}
	if err != nil {
		return &messages.ReportJobStartFailed{Attempt: e.Attempt, Error: messages.AsError(err).Body(), Retriable: retriable(err)}, nil
	}
	return &messages.ReportJobStarted{Attempt: e.Attempt, Runner: r}, nil
}

// follow passes on what comes next of the attempt: a checkpoint, after which it is owed anew, or the end.
func (h ports) follow(ctx context.Context, e follow) (proto.Message, error) {
	next, err := h.trainer.Follow(ctx, e.Run, e.After)
	switch {
	case err != nil:
		return nil, err
	case next.Outcome != nil:
		return &messages.ReportJobEnded{Attempt: e.Attempt, Outcome: next.Outcome}, nil
	case next.Checkpoint.GetStep() <= e.After:
		return nil, messages.Errorf(messages.Internal, e.Job.String(), "what follows step %d is told as step %d", e.After, next.Checkpoint.GetStep())
	}
	return &messages.ReportCheckpoint{Attempt: e.Attempt, Checkpoint: next.Checkpoint}, nil
}

// NeverBegun is the reason of an attempt that was stopped before it ran. It is in the journal, so it never changes.
const NeverBegun = "it was stopped before it began"

// find tells what is known of an attempt that was stopped while it was started. One that runs, or has ended by itself, is followed to its end.
func (h ports) find(ctx context.Context, e find) (proto.Message, error) {
	r, err := h.trainer.Find(ctx, e.Run)
	switch {
	case err != nil:
		return nil, err
	case r == nil:
		return &messages.ReportJobEnded{Attempt: e.Attempt, Outcome: &messages.JobOutcome{End: messages.JobOutcome_stopped, Reason: NeverBegun}}, nil
	}
	return &messages.ReportJobStarted{Attempt: e.Attempt, Runner: r}, nil
}

// leave ends the attempt's processes, after a checkpoint if there may be one. The grace is for both; who writes one in the last moment has a second
// for its end.
func (h ports) leave(ctx context.Context, e leave) error {
	left := e.Grace
	if e.Checkpoint {
		began := time.Now()
		within, cancel := context.WithTimeout(ctx, e.Grace)
		_ = h.trainer.Checkpoint(within, e.Run) // without one, the next attempt begins at the one before
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		left = max(e.Grace-time.Since(began), time.Second)
	}
	return h.trainer.Stop(ctx, e.Run, left)
}

// unknown tells that an error says nothing of the attempt. The work stays owed.
func unknown(err error) bool { return messages.CodeOf(err) == messages.Unavailable }

// retriable tells whether another start may succeed. What is wrong with a recipe or a program stays wrong, unless the error says when to try again.
func retriable(err error) bool {
	switch e := messages.AsError(err); e.Code {
	case messages.InvalidArgument, messages.NotFound, messages.Unsupported, messages.FailedPrecondition, messages.PermissionDenied:
		return e.Retry > 0
	}
	return true
}
