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
//	                                                  └──▶ failed (no tries left; EnsureModel tries again)
//
//	ready ──SleepModel──▶ falling_asleep ──▶ asleep ──EnsureModel──▶ waking ──▶ ready, the same attempt. A worker that can't wake up drains,
//	and the model is placed again. Everything that ends a ready worker ends one that sleeps.
//
//	DeclareModel          -> ModelDeclared [ModelDraining]
//	RetireModel           -> ModelRetired [ModelUnwanted ModelDraining]
//	EnsureModel           -> ModelWanted | WakeStarted
//	UnloadModel           -> ModelUnwanted [ModelDraining]
//	Preempt               -> ModelUnwanted ModelDraining   for a placement that needs the room; never when pinned
//	Reinstate             -> ModelWanted                when it left for that placement and wasn't unloaded since
//	PinModel              -> ModelPinned
//	ReportFootprint       -> FootprintMeasured
//	PlacementGranted      -> [ModelWanted] ModelLoadStarted   its memory is reserved; ModelWanted when it was asked for by name
//	ReportPlacementFailed -> LoadFailed
//	ReportWorkerStarted   -> WorkerStarted
//	ReportWorkerReady     -> ModelReady
//	ReportLoadFailed      -> LoadFailed
//	ReportWorkerExited    -> WorkerExited [ModelWanted | LoadFailed]
//	ReportDrained         -> ModelDrained
//	ReportLeaseSettled    -> LeaseSettled
//	ReportLeaseReturned   -> LeaseReturned
//	ReportLeaseLost       -> ModelLeaseLost [ModelDraining]   its owner doesn't know the lease, or granted it to another
//	RetryLoad             -> ModelWanted
//	ReportBreaker         -> BreakerChanged
//	SleepModel            -> SleepStarted
//	ReportAsleep          -> ModelAsleep                its lease shrinks to what is left
//	ReportAwake           -> ModelAwake
//	ReportSleepFailed     -> WakeStarted | ModelDraining
//	ScaleModel            -> ModelScaled
//	ReportReplicaSettled  -> ReplicaSettled
//	ReplaceWorker         -> WorkerDegraded; at a replica ModelDraining
//	ReportReplacementReady  -> WorkerReplaced [ModelDraining]
//	ReportReplacementFailed -> ReplacementFailed [ModelDraining]
//
// A replica (chat~2) is a model of its own with the declaration of its base. The base keeps which replicas it wants, ensures those and removes
// the others; the phase of a replica is the replica's own state. A worker that is up but does its work badly is replaced: another one becomes
// ready first, then the degraded one restarts, then the other one is removed. Without room for two it restarts alone; after any other failure
// it stays.
//
// Every attempt to become resident has a number. A report of an older attempt is dropped.
package model
