// Package model is one model's residency on one host: whether it is wanted, which worker process runs it, and what it holds.
//
// It decides when to load, retry, give up and unload. It does not choose a device (the arbiter does), own memory (the gpu
// actor does) or route requests (the gateway does).
//
//	absent ──EnsureModel──▶ placing ──PlacementGranted──▶ loading ──ready──▶ ready
//	   ▲                      ▲  ▲                    │                 │ UnloadModel, new declaration
//	   │                      │  └──── waiting ◀──────┤ failed          ▼
//	   │                      │      (back-off)       │             draining ──drained──▶ stopping
//	   └── unwanted ◀─────────┴───── WorkerExited ◀───┼─────────────────────────────────────┘
//	                                                  └──▶ failed (no tries left; EnsureModel tries anew)
//
//	ready ──SleepModel──▶ dozing ──▶ asleep ──EnsureModel──▶ waking ──▶ ready, the same attempt. What can't wake up drains and is placed
//	anew. Everything that ends a ready worker ends one that sleeps.
//
//	DeclareModel          -> ModelDeclared [ModelDraining]
//	RetireModel           -> ModelRetired [ModelUnwanted ModelDraining]
//	EnsureModel           -> ModelWanted | WakeStarted
//	UnloadModel           -> ModelUnwanted [ModelDraining]
//	Preempt            -> ModelUnwanted ModelDraining   for a placement that needs the room; never when pinned
//	PinModel              -> ModelPinned
//	ReportFootprint       -> FootprintMeasured
//	PlacementGranted             -> ModelLoadStarted           the placement's memory is reserved
//	ReportPlacementFailed -> LoadFailed
//	ReportWorkerStarted   -> WorkerStarted
//	ReportWorkerReady     -> ModelReady
//	ReportLoadFailed      -> LoadFailed
//	ReportWorkerExited    -> WorkerExited [ModelWanted | LoadFailed]
//	ReportDrained         -> ModelDrained
//	ReportLeaseSettled    -> LeaseSettled
//	ReportLeaseReturned   -> LeaseReturned
//	RetryLoad             -> ModelWanted
//	ReportBreaker         -> BreakerChanged
//	SleepModel            -> SleepStarted
//	ReportAsleep          -> ModelAsleep                its lease shrinks to what is left
//	ReportAwake           -> ModelAwake
//	ReportSleepFailed       -> WakeStarted | ModelDraining
//	ScaleModel            -> ModelScaled
//	ReportReplicaSettled  -> ReplicaSettled
//	ReplaceWorker         -> WorkerDegraded; at a replica ModelDraining
//	ReportReplacementReady  -> WorkerReplaced [ModelDraining]
//	ReportReplacementFailed -> ReplacementFailed [ModelDraining]
//
// A replica (chat~2) is a model of its own with the declaration of its base, which calls it up and dismisses it: what the base wants is
// its own state, what became of a replica is the replica's. A worker that is up but does badly is replaced: another one is ready first,
// then it starts anew, then the other one goes. Without room for two it just starts anew; after any other failure it stays.
//
// Every attempt to become resident has a number. What reports an older attempt is dropped.
package model
