// Package model is one model's residency on one host: whether it is wanted, which worker process runs it, and what it holds.
//
// It decides when to load, retry, give up and unload. It does not choose a device (the arbiter does), own memory (the gpu actor does) or route
// requests (the gateway does).
//
//	         a placement by its name
//	   ┌─────────────────────────────────────────────┐
//	absent ──EnsureModel──▶ placing ──PlacementGranted──▶ loading ──ready──▶ ready
//	   ▲                      ▲  ▲                        │                    │ UnloadModel, Preempt, new declaration, lost lease
//	   │                      │  └──────── waiting ◀──────┤ failed             ▼
//	   │                      │          (back-off)       │                draining ──drained──▶ stopping
//	   └── unwanted ◀─────────┴─────── WorkerExited ◀─────┼────────────────────────────────────────┘
//	                                                      └──▶ failed (no tries are left; EnsureModel or a placement by its name begins again)
//
//	ready ──SleepModel──▶ falling_asleep ──▶ asleep ──EnsureModel──▶ waking ──▶ ready, in the same attempt
//
// A worker that can't wake up drains, and the model is placed again. Everything that ends a ready worker ends one that sleeps.
//
//	DeclareModel            -> ModelDeclared [ModelDraining]
//	RetireModel             -> ModelRetired [ModelUnwanted ModelDraining]
//	EnsureModel             -> ModelWanted | WakeStarted
//	UnloadModel             -> ModelUnwanted [ModelDraining]
//	PinModel                -> ModelPinned
//	ReportFootprint         -> FootprintMeasured
//	ReportBreaker           -> BreakerChanged
//
// placements and leases (placement.go, lease.go):
//
//	PlacementGranted        -> ModelLoadStarted; for a placement by its name ModelWanted ModelLoadStarted
//	ReportPlacementFailed   -> LoadFailed; for a request by its name ModelWanted LoadFailed
//	Preempt                 -> ModelUnwanted ModelDraining   for a placement that needs the room; never when pinned
//	Reinstate               -> ModelWanted                   after it left for that placement
//	ReportLeaseSettled      -> LeaseSettled
//	ReportLeaseReturned     -> LeaseReturned
//	ReportLeaseLost         -> ModelLeaseLost [ModelDraining]   by force
//	QueryHolding            -> (nothing)                     says whether it has a lease
//
// the worker:
//
//	ReportWorkerStarted     -> WorkerStarted
//	ReportWorkerReady       -> ModelReady
//	ReportLoadFailed        -> LoadFailed
//	ReportWorkerExited      -> WorkerExited [ModelWanted | LoadFailed | ModelUnwanted]
//	ReportDrained           -> ModelDrained
//	RetryLoad               -> ModelWanted
//
// sleep (sleep.go):
//
//	SleepModel              -> SleepStarted
//	ReportAsleep            -> ModelAsleep                   its leases shrink to what is left
//	ReportAwake             -> ModelAwake
//	ReportSleepFailed       -> WakeStarted | ModelDraining
//
// further workers (replicas.go, replacement.go):
//
//	ScaleModel              -> ModelScaled
//	ReportReplicaSettled    -> ReplicaSettled
//	ReplaceWorker           -> WorkerDegraded; at a replica ModelDraining
//	ReportReplacementReady  -> WorkerReplaced [ModelDraining]
//	ReportReplacementFailed -> ReplacementFailed [ModelDraining]
//
// A replica (chat~2) is a model of its own with the declaration of its base, which declares, wants and retires it: what the base wants is its own
// state, what became of a replica is the replica's. A degraded worker is replaced: another one is ready first, then the degraded one restarts, then
// the other one is removed. Without room for two it just restarts; after any other failure it stays.
//
// Every attempt to become resident has a number. A report of an older attempt is dropped.
package model
