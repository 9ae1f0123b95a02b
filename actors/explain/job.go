package explain

import (
	"cmp"
	"fmt"
	"time"

	"modelops/actors/job"
	"modelops/messages"
)

// explainJob says it of a job. NotFound: no journal knows it.
func (r *reading) explainJob(p Present) (*messages.Explanation, error) {
	s, known := stateOf[job.State](r.latest, r.model)
	if !known {
		return nil, messages.Errorf(messages.NotFound, r.question.Subject, "no job of this name is known")
	}
	return &messages.Explanation{Subject: cmp.Or(r.question.Subject, r.model), Kind: "job", Summary: r.jobSummary(s, p) + goesOn(s) + returning(s.Returning, "attempt"),
		Reasons: r.reasons(r.model), Weighed: choiceOf(r.last()).weighed(), WouldChange: jobChanges(s)}, nil
}

func (r *reading) jobSummary(s job.State, p Present) string {
	name, at := short(r.model), since(r.since, p.Now)
	failure := saidError(s.Error)
	switch s.Phase {
	case job.Pending, job.Preempted:
		switch {
		case s.RetryAtMS > 0:
			return fmt.Sprintf("%s failed, %d times in a row, and waits for its next attempt, at %s: %s.", name, s.Failures, moment(time.UnixMilli(s.RetryAtMS)), failure)
		case s.Phase == job.Preempted:
			return fmt.Sprintf("%s had to leave (%s) and waits for memory again %s: %s.", name, cmp.Or(s.Stop.Reason, stopText(s.Stop.Cause)), at, r.waiting())
		}
		return fmt.Sprintf("%s waits for memory %s: %s.", name, since(time.UnixMilli(s.WaitingMS), p.Now), r.waiting())
	case job.Reserved:
		return fmt.Sprintf("%s starts on %s %s. %s", name, spots(s.Placement), at, r.placedBecause())
	case job.Running:
		return fmt.Sprintf("%s runs on %s %s, in attempt %d. %s", name, spots(s.Placement), at, s.Attempt, r.placedBecause())
	case job.Checkpointing:
		return fmt.Sprintf("%s is on its way out of %s %s: %s.", name, spots(s.Placement), at, cmp.Or(s.Stop.Reason, stopText(s.Stop.Cause)))
	case job.Paused:
		return fmt.Sprintf("%s is paused %s: %s.", name, at, cmp.Or(s.Stop.Reason, "no reason was given"))
	case job.Completed:
		return fmt.Sprintf("%s is completed %s, after %s on devices.", name, at, span(s.DeviceMS))
	case job.Failed:
		return fmt.Sprintf("%s has failed %s: %s.", name, at, failure)
	}
	return fmt.Sprintf("%s is cancelled %s: %s.", name, at, cmp.Or(s.Stop.Reason, "no reason was given"))
}

// goesOn says where a job that hasn't ended would begin again.
func goesOn(s job.State) string {
	if s.Checkpoint == nil || s.EndedMS > 0 {
		return ""
	}
	return fmt.Sprintf(" Its last acknowledged checkpoint is that of step %d.", s.Checkpoint.Step)
}

func jobChanges(s job.State) []string {
	switch s.Phase {
	case job.Pending, job.Preempted:
		if s.RetryAtMS > 0 {
			return []string{"the end of the pause after its failure"}
		}
		return []string{"memory that others give back, on a device where it fits"}
	case job.Paused:
		return []string{"somebody resumes it"}
	case job.Completed, job.Failed, job.Cancelled:
		return []string{"nothing: it has ended; the same work can be submitted under another id"}
	}
	return nil
}

// stopText is why an attempt has to leave.
func stopText(c messages.StopCause) string {
	switch c {
	case messages.StopCause_stop_preempted:
		return "others need its memory"
	case messages.StopCause_stop_paused:
		return "it is to be paused"
	case messages.StopCause_stop_cancelled:
		return "it is cancelled"
	case messages.StopCause_stop_overtime:
		return "its time is over"
	case messages.StopCause_stop_fenced:
		return "its lease is lost"
	case messages.StopCause_stop_window:
		return "its window has closed, or requests came"
	case messages.StopCause_stop_drained:
		return "its host is being emptied"
	case messages.StopCause_stop_inversion:
		return "what has a higher priority waited too long for its memory"
	}
	return "the reason isn't known"
}

// jobText says an event of a job; empty for another actor's.
func jobText(f fact) string {
	switch e := f.event.(type) {
	case *messages.JobSubmitted:
		return "submitted" + by(e.By)
	case *messages.JobReserved:
		return fmt.Sprintf("attempt %d has its memory on %s", e.Attempt, spots(e.Placement))
	case *messages.JobStarted:
		return fmt.Sprintf("attempt %d runs, process %d", e.Attempt, e.GetRunner().GetPid())
	case *messages.CheckpointAcknowledged:
		return fmt.Sprintf("the checkpoint of step %d is complete", e.GetCheckpoint().GetStep())
	case *messages.JobCheckpointAsked:
		return "asked for a checkpoint" + by(e.By)
	case *messages.JobStopping:
		text := fmt.Sprintf("attempt %d is to end: %s", e.Attempt, cmp.Or(e.Reason, stopText(e.Cause)))
		if e.PreemptedFor != "" {
			text += ", for " + short(e.PreemptedFor)
		}
		return text + by(e.By)
	case *messages.JobPreempted:
		return fmt.Sprintf("attempt %d has left its memory: %s", e.Attempt, cmp.Or(e.Reason, stopText(e.Cause)))
	case *messages.JobPaused:
		return "paused: " + cmp.Or(e.Reason, "no reason was given") + by(e.By)
	case *messages.JobResumed:
		return "resumed" + by(e.By)
	case *messages.JobAttemptFailed:
		text := fmt.Sprintf("attempt %d failed: %s; the next one follows in %s", e.Attempt, saidError(e.Error), span(e.RetryMs))
		if e.Smaller {
			text += ", with the recipe's smaller setting"
		}
		return text
	case *messages.JobRetrying:
		return fmt.Sprintf("it asks for memory for attempt %d", e.Attempt)
	case *messages.JobLeaseLost:
		return fmt.Sprintf("lease %s of attempt %d is lost: %s", e.Lease, e.Attempt, e.Reason)
	case *messages.JobLeaseReturned:
		return "the lease of placement " + e.Placement + " is given back"
	case *messages.JobCompleted:
		return fmt.Sprintf("completed in attempt %d, at step %d", e.Attempt, e.GetOutcome().GetStep())
	case *messages.JobFailed:
		return fmt.Sprintf("failed for good in attempt %d: %s", e.Attempt, saidError(e.Error))
	case *messages.JobCancelled:
		return "cancelled: " + cmp.Or(e.Reason, "no reason was given") + by(e.By)
	case *messages.JobDeleted:
		return "deleted" + by(e.By)
	case *messages.JobFilesRemoved:
		return "its files are removed, " + mib(e.Bytes)
	}
	return ""
}

func by(who string) string {
	if who == "" {
		return ""
	}
	return ", by " + who
}
