// Package host is one machine's life: its boots, its configuration's revision, which of its actors gave up, and which model answers a
// name where that isn't the one that the declarations say.
//
// It supervises nothing by itself: package tree restarts actors and tells this one when it stops trying. It loads and unloads nothing
// either: it tells the model actors what it wants of them. Requests are routed by the gateway, which hears of each change of routes.
//
//	stopped ──StartHost──▶ running ──StopHost──▶ stopped        (a boot without a stop before it was a crash)
//
//	StartHost    -> HostStarted
//	StopHost     -> HostStopped
//	RecordConfig -> ConfigApplied
//	ReportGaveUp -> ActorGaveUp
//	RestartActor -> ActorRevived (package tree starts it afresh on the next message to it)
//
// A swap lets another model answer a name. The one that answered serves until the other one is ready, and keeps its memory until the
// other one has been judged:
//
//	SwapModel ──▶ preparing ──ready──▶ trying ──did well──▶ promoted ──▶ the former one is unloaded
//	                  │ failed            │ did badly
//	                  └───────────────────┴──▶ rolled_back ──▶ the new one is unloaded, unless it was resident before
//
//	SwapModel         -> RolloutStarted
//	ReportRolloutReady   -> RolloutCanaried       or RolloutPromoted, when it takes back a former swap
//	ReportRolloutFailed  -> RolloutRolledBack
//	ReportRolloutJudged  -> RolloutPromoted       or RolloutRolledBack
//	PromoteSwap       -> RolloutPromoted       at once
//	RollbackSwap      -> RolloutRolledBack     at once, or RolloutStarted back to the former model, when the swap is done
//	ReportRolloutSettled -> RolloutSettled
//	ReviewRoutes      -> [RolloutPromoted RolloutRolledBack RouteDropped]   told before a model is withdrawn
//
// What reports a swap that is over is dropped. A name always leads to a model that is declared, or to nobody else than the declarations say.
//
// Three parts stand beside the actor. The Reconciler makes the models follow a configuration (reconcile.go says how it is compared). The
// Recovery brings the actors of the journal back at a start, and placement is disabled until it is over. Verify looks at the workers that
// the journal calls ready before the doors open.
package host
