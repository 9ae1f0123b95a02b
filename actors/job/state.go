package job

import (
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Phase is where the job is on its way to its end.
type Phase = messages.JobView_Phase

// The phases of a job. It has none before it is submitted.
const (
	Unsubmitted   = messages.JobView_phase_unknown
	Pending       = messages.JobView_pending
	Reserved      = messages.JobView_reserved
	Running       = messages.JobView_running
	Checkpointing = messages.JobView_checkpointing // its attempt is on its way out
	Preempted     = messages.JobView_preempted
	Paused        = messages.JobView_paused
	Completed     = messages.JobView_completed
	Failed        = messages.JobView_failed
	Cancelled     = messages.JobView_cancelled
)

// Stop is why an attempt is on its way out, or why the last one was.
type Stop struct {
	Cause  messages.StopCause
	Reason string
	By     string
}

// State is the fold of one job's journal.
type State struct {
	ID    messages.ActorID
	Spec  *messages.JobSpec
	By    string // who submitted it
	Phase Phase
	// Attempt is the number of the present attempt, or of the next one while none has memory. It is that of the claim too.
	Attempt   uint64
	Placement *messages.Placement
	Nonce     string
	Runner    *messages.Runner
	BeganMS   int64 // of the present attempt's processes
	// Checkpoint is the last acknowledged one: the next attempt begins there.
	Checkpoint   *messages.Checkpoint
	CheckpointMS int64 // when it was acknowledged
	Asked        bool  // for a checkpoint, after which it goes on
	Stop         Stop
	LostLease    string // of this attempt, which its device's owner doesn't know any more
	// Returning holds leases of ended attempts that the gpu actor hasn't taken back.
	Returning []*messages.Placement
	Failures  int  // in a row, without a new checkpoint between
	Smaller   bool // device memory ran out once: the recipe's smaller setting is used
	RetryMS   int64
	RetryAtMS int64 // 0 = it isn't in the pause after a failure
	Outcome   *messages.JobOutcome
	Error     *messages.ErrorBody

	SubmittedMS int64
	StartedMS   int64 // first start
	EndedMS     int64
	WaitingMS   int64 // since when it seeks memory; 0 = it doesn't
	Preemptions uint32
	DeviceMS    int64 // of all ended attempts, on one device
	RanMS       int64 // of all ended attempts
	// Obeyed is the highest epoch of an arbiter whose decision was taken; 0 = no arbiter ever took over.
	Obeyed uint64 `json:",omitempty"`
	// MadeRoom is the placement for which it left last: asking twice evicts once.
	MadeRoom string
	Deleted  bool
	Removed  bool // its files are
}

// New is a job that nobody submitted.
func New(id messages.ActorID) State { return State{ID: id} }

// over tells whether it has ended.
func (s State) over() bool { return s.Phase == Completed || s.Phase == Failed || s.Phase == Cancelled }

// resident tells whether an attempt has memory, and processes run or may run.
func (s State) resident() bool {
	return s.Phase == Reserved || s.Phase == Running || s.Phase == Checkpointing
}

// waits tells whether it has neither memory nor processes and goes on by itself: it seeks memory, or is in the pause after a failure.
func (s State) waits() bool { return s.Phase == Pending || s.Phase == Preempted }

// seeks tells whether it wants memory now.
func (s State) seeks() bool { return s.waits() && s.RetryAtMS == 0 }

// step is that of the last acknowledged checkpoint.
func (s State) step() uint64 { return s.Checkpoint.GetStep() }

// gentle tells whether a stopped attempt may write a checkpoint first. One that was cancelled needs none, and one without its memory must not go on.
func (s State) gentle() bool {
	return s.Stop.Cause != messages.StopCause_stop_cancelled && s.Stop.Cause != messages.StopCause_stop_overtime && s.LostLease == "" && writes(s.Spec)
}

// writes tells whether a trainer writes a checkpoint when it is asked to.
func writes(spec *messages.JobSpec) bool {
	how := spec.GetRecipe().GetCheckpoint()
	return how == "signal" || how == "stdin"
}

// Evolve folds an event.
func Evolve(s State, event proto.Message, _ uint64) State {
	switch e := event.(messages.JobEvent).(type) {
	case *messages.JobSubmitted:
		s.Spec, s.By, s.SubmittedMS = e.Spec, e.By, e.At.AsTime().UnixMilli()
		s = seek(s, Pending, s.SubmittedMS)
	case *messages.JobReserved:
		s.Phase, s.Placement, s.Nonce, s.WaitingMS, s.Stop = Reserved, e.Placement, e.Nonce, 0, Stop{}
		s.Obeyed = max(s.Obeyed, e.Placement.GetArbiterEpoch())
	case *messages.JobStarted:
		s.Runner, s.BeganMS = e.Runner, e.At.AsTime().UnixMilli()
		if s.StartedMS == 0 {
			s.StartedMS = s.BeganMS
		}
		if s.Phase == Reserved {
			s.Phase = Running
		}
	case *messages.CheckpointAcknowledged:
		s.Checkpoint, s.CheckpointMS, s.Failures, s.Asked = e.Checkpoint, e.At.AsTime().UnixMilli(), 0, false
	case *messages.JobCheckpointAsked:
		s.Asked = true
	case *messages.JobStopping:
		s.Phase, s.Stop, s.Asked = Checkpointing, Stop{e.Cause, e.Reason, e.By}, false
		if e.Placement != "" {
			s.MadeRoom = e.Placement
		}
		s.Obeyed = max(s.Obeyed, e.ArbiterEpoch)
	case *messages.JobPreempted:
		s = ended(s, e.Outcome, e.At.AsTime().UnixMilli())
		s.Preemptions++
		s = seek(s, Preempted, e.At.AsTime().UnixMilli())
	case *messages.JobPaused:
		s = ended(s, e.Outcome, e.At.AsTime().UnixMilli())
		s.Phase, s.Stop = Paused, Stop{messages.StopCause_stop_paused, e.Reason, e.By}
	case *messages.JobResumed:
		if s.Phase == Checkpointing { // it ends for its pause, and goes on afterwards
			s.Stop = Stop{messages.StopCause_stop_preempted, "it was to be paused, and is resumed", e.By}
			break
		}
		s.Stop = Stop{}
		s = seek(s, Pending, e.At.AsTime().UnixMilli())
	case *messages.JobAttemptFailed:
		s = failed(s, e)
	case *messages.JobRetrying:
		s.RetryMS, s.RetryAtMS, s.WaitingMS = 0, 0, e.At.AsTime().UnixMilli()
	case *messages.JobLeaseLost:
		s.LostLease = e.Lease
	case *messages.JobLeaseReturned:
		s.Returning = withoutPlacement(s.Returning, e.Placement)
	case *messages.JobCompleted:
		s = finished(s, Completed, e.Outcome, nil, e.At.AsTime().UnixMilli())
	case *messages.JobFailed:
		s = finished(s, Failed, e.Outcome, e.Error, e.At.AsTime().UnixMilli())
	case *messages.JobCancelled:
		s = finished(s, Cancelled, e.Outcome, nil, e.At.AsTime().UnixMilli())
		s.Stop = Stop{messages.StopCause_stop_cancelled, e.Reason, e.By}
	case *messages.JobDeleted:
		s.Deleted = true
	case *messages.JobFilesRemoved:
		s.Removed = true
	}
	return s
}

// seek begins to want memory, under a new number.
func seek(s State, phase Phase, nowMS int64) State {
	s.Phase, s.WaitingMS, s.RetryMS, s.RetryAtMS = phase, nowMS, 0, 0
	s.Attempt++
	return s
}

func failed(s State, e *messages.JobAttemptFailed) State {
	at := e.At.AsTime().UnixMilli()
	s = ended(s, e.Outcome, at)
	s = seek(s, Pending, at)
	s.Error, s.Smaller = e.Error, s.Smaller || e.Smaller
	if !e.Smaller {
		s.Failures++
	}
	if e.RetryMs > 0 {
		s.RetryMS, s.RetryAtMS, s.WaitingMS = e.RetryMs, at+e.RetryMs, 0
	}
	return s
}

func finished(s State, phase Phase, outcome *messages.JobOutcome, e *messages.ErrorBody, nowMS int64) State {
	s = ended(s, outcome, nowMS)
	s.Phase, s.Error, s.EndedMS = phase, e, nowMS
	return s
}

// ended closes an attempt, if there is one: its leases are to be returned, its time counts, and nothing of its processes is left.
func ended(s State, outcome *messages.JobOutcome, nowMS int64) State {
	if outcome != nil {
		s.Outcome = outcome
	}
	if s.BeganMS > 0 {
		span := max(nowMS-s.BeganMS, 0)
		s.DeviceMS += span * int64(max(len(s.Placement.GetShares()), 1))
		if ran := outcome.GetRanMs(); ran > 0 { // nobody may have looked when it ended
			span = ran
		}
		s.RanMS += span
	}
	if s.Placement != nil {
		s.Returning = append(append([]*messages.Placement(nil), s.Returning...), s.Placement)
	}
	s.Placement, s.Nonce, s.Runner, s.BeganMS, s.LostLease, s.Asked = nil, "", nil, 0, "", false
	s.WaitingMS, s.RetryMS, s.RetryAtMS = 0, 0, 0
	return s
}

func withoutPlacement(in []*messages.Placement, id string) []*messages.Placement {
	var out []*messages.Placement
	for _, p := range in {
		if p.Id != id {
			out = append(out, p)
		}
	}
	return out
}

// View is what is shown of the job.
func View(s State) proto.Message {
	v := &messages.JobView{
		Id: s.ID.String(), Host: s.ID.Host(), Name: s.ID.Name(), Spec: s.Spec, Phase: s.Phase, Attempt: s.Attempt, Placement: s.Placement, Runner: s.Runner,
		Checkpoint: s.Checkpoint, Outcome: s.Outcome, Error: s.Error, Reason: s.Stop.Reason, By: s.By, SubmittedMs: s.SubmittedMS, StartedMs: s.StartedMS,
		EndedMs: s.EndedMS, WaitingSinceMs: s.WaitingMS, RetryAtMs: s.RetryAtMS, Preemptions: s.Preemptions, DeviceMs: s.DeviceMS, RanMs: s.RanMS,
		Failures: uint32(s.Failures), Smaller: s.Smaller, Deleted: s.Deleted, Removed: s.Removed, BeganMs: s.BeganMS, Nonce: s.Nonce, CheckpointMs: s.CheckpointMS,
	}
	if s.Phase == Checkpointing {
		v.Stopping = s.Stop.Cause
	}
	return v
}
