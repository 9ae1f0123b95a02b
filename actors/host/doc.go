// Package host records one machine's life: its boots, its configuration's revision, which of its actors gave up, and the rollouts that let a
// name lead to another model than declared.
//
// It supervises nothing: package tree restarts actors and tells this one when it gives up. It loads and unloads nothing either: it sends
// commands to the model actors. Requests are routed by the gateway, which gets each change of routes.
//
//	stopped ──StartHost──▶ running ──StopHost──▶ stopped        (a boot without a stop before it was a crash)
//
//	StartHost    -> HostStarted
//	StopHost     -> HostStopped
//	RecordConfig -> ConfigApplied
//	ReportGaveUp -> ActorGaveUp
//	RestartActor -> ActorRevived (package tree spawns it again on the next message to it)
//	StartDrain   -> HostDraining        nothing is placed here any more, and what is here leaves (drain.go)
//	EndDrain     -> HostDrainEnded
//
// A rollout (the command is called swap) lets another model answer a name. The old model serves until the new one is ready, and keeps its
// memory until the trial is over:
//
//	SwapModel ──▶ preparing ──ready──▶ trying ──did well──▶ promoted ──▶ the former one is unloaded
//	                  │ failed            │ did badly
//	                  └───────────────────┴──▶ rolled_back ──▶ the new one is unloaded, unless it was resident before
//
//	SwapModel            -> RolloutStarted
//	ReportRolloutReady   -> RolloutCanaried       or RolloutPromoted, when it takes back a former rollout
//	ReportRolloutFailed  -> RolloutRolledBack
//	ReportRolloutJudged  -> RolloutPromoted       or RolloutRolledBack
//	PromoteSwap          -> RolloutPromoted       at once
//	RollbackSwap         -> RolloutRolledBack     at once, or RolloutStarted back to the former model, when the rollout is done
//	ReportRolloutSettled -> RolloutSettled
//	ReviewRoutes         -> [RolloutPromoted RolloutRolledBack RouteDropped]   sent before a model is withdrawn
//
// A report of a rollout that is over is dropped. A route always leads to a declared model; a name without a route is answered as declared.
//
// Three parts stand beside the actor. The Reconciler makes the models follow a configuration (reconcile.go says how it is compared). The
// Recovery brings the actors of the journal back at a start, and placement is disabled until it is over. Verify looks at the workers that
// the journal calls ready before the doors open.
package host
