// Package job is one training or evaluation run, from its submission to its one end: which memory it has, which attempt runs, where the next one
// would begin, and how it ended.
//
// It decides when to seek memory, start, stop, retry and give up. It does not choose a device (the arbiter does), own memory (the gpu actor does)
// or run a process (its Trainer does).
//
//	            ┌───────────────── the pause after a failure is over ────────────┐
//	            ▼                                                                │
//	SubmitJob ─▶ pending ──PlacementGranted──▶ reserved ──started──▶ running ──failed──▶ pending, in a pause
//	            ▲   ▲                             │                    │  │
//	            │   └──────────── failed ─────────┤                    │  └──ended──▶ completed, failed
//	  ResumeJob │                                 │ PauseJob, CancelJob, Preempt, StopJob, lost lease
//	            │                                 ▼                    ▼
//	         paused ◀──PauseJob── (any) ◀─────── checkpointing ◀───────┘
//	                                              │ its processes are gone
//	                                              ▼
//	                         completed, preempted (seeks memory like pending), paused, cancelled, failed
//
// completed, failed and cancelled are for ever. An attempt whose outcome is that it is done completes the job whatever was to become of it
// meanwhile; any other outcome of a stopped attempt gives what it was stopped for.
//
//	SubmitJob                -> JobSubmitted
//	CancelJob                -> JobCancelled | JobStopping
//	PauseJob                 -> JobPaused | JobStopping
//	ResumeJob                -> JobResumed
//	CheckpointJob            -> JobCheckpointAsked
//	StopJob                  -> JobStopping
//	DeleteJob                -> JobDeleted                    once it has ended; its files are removed
//	ReportJobFilesRemoved    -> JobFilesRemoved
//
// placements and leases (placement.go, lease.go):
//
//	PlacementGranted         -> JobReserved
//	ReportJobPlacementFailed -> JobFailed                     no device can ever hold it
//	Preempt                  -> JobStopping
//	Reinstate                -> (nothing)                     it seeks memory again by itself
//	ReportJobLeaseLost       -> JobLeaseLost [JobStopping]    at once, without a checkpoint
//	ReportJobLeaseReturned   -> JobLeaseReturned
//	QueryHolding             -> (nothing)                     says whether it has a lease
//
// an attempt (end.go):
//
//	ReportJobStarted         -> JobStarted
//	ReportJobStartFailed     -> JobAttemptFailed | JobFailed
//	ReportCheckpoint         -> CheckpointAcknowledged        steps only grow
//	ReportJobEnded           -> JobCompleted | JobAttemptFailed | JobFailed | JobPreempted | JobPaused | JobCancelled
//	RetryStart               -> JobRetrying
//
// Attempts are numbered, and the number rises whenever the job seeks memory anew. A report of an older attempt is dropped. What an attempt told
// before its end is heard before its end: the end is reported by the work that follows it, and by none else.
package job
