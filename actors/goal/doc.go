// Package goal is an aim that makes jobs until it is met: a figure to reach, and what it may cost.
//
// It decides when the next run begins and with which settings, what comes after each stage of a run, what became of the run, and when the goal has ended.
// It doesn't run a process (the job does), choose a device (the arbiter does), keep versions or their files, or decide whose turn it is: the dispatcher
// (turns.go, dispatch_effects.go) does that for all goals of a host, by their views.
//
//	pending ──StartGoal──▶ active ──target met, or without one all runs made──▶ completed
//	   ▲  ▲                  │  │
//	   │  └─YieldGoal, a────┘  ├──budget or deadline spent, three runs in a row broke──▶ failed
//	   │    schedule            │
//	   │                        └──CancelGoal, DeleteGoal──▶ cancelled
//	   └──ResumeGoal── paused ◀──PauseGoal── pending, active
//
// Every phase before the end can fail and be cancelled. A goal that has ended stays as it is; if a job of it runs, that is stopped, and the run's device
// time still counts.
//
//	a run: training ──▶ registering ──▶ evaluating ──▶ comparing ──▶ rolling_out ──▶ ended
//
// A stage that a goal doesn't need is left out: without a model nothing is registered, without an evaluation nothing is compared, and only what is
// better than the version that serves is rolled out. A trial of auto-tuning before the last rung is trained and evaluated, no more (search.go).
//
//	CreateGoal        -> GoalCreated
//	ChangeGoal        -> GoalChanged [GoalMet | GoalFailed | GoalYielded]
//	PauseGoal         -> GoalPaused                       a job that runs goes on, and no other one is made
//	ResumeGoal        -> GoalResumed
//	CancelGoal        -> GoalCancelled [RunEnded]
//	DeleteGoal        -> [GoalCancelled RunEnded] GoalDeleted
//
// turns:
//
//	StartGoal         -> GoalStarted
//	YieldGoal         -> GoalYielded                      when its run has ended; a turn has one run at least
//
// runs (run.go):
//
//	PlanRun           -> RunPlanned | GoalMet | GoalFailed
//	ReportRunJob      -> RunJobMade
//	ReportStageEnded  -> RunAdvanced [RunEnded] | RunEnded, then [RungEnded] [GoalMet | GoalFailed | GoalYielded]
//	ReportBudgetSpent -> GoalFailed
//	ReportDeadline    -> GoalFailed
//
// The jobs of a run have names made from the goal's and the run's number, so that there are never two for one stage, whatever is lost and asked again. A
// report of another run or stage than the present one is dropped.
package goal
