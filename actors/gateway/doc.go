// Package gateway is where requests enter a host: admission, queues, routes, the breaker, cancellation. It is not journaled.
//
// Each model has a lane. A lane lets max_concurrent requests run, keeps max_queue_size waiting, and refuses the rest at once.
// Requests for a model that isn't ready wait in its lane while the model actor, told once, makes it resident. The request's
// context is its life: when it ends, the request leaves the lane in whatever state it is.
//
//	Admit ─▶ refused (queue full, breaker open, unknown model)
//	      ─▶ granted ──Release──▶ gone
//	      ─▶ waiting ──model ready and a place free──▶ granted
//	                 ──model failed / context over──▶ refused
//
// Who waits goes by priority class and age (order.go). A lane has a seat for each worker: the model's own, and its replicas'. A request
// runs at the worker with the fewest, and each worker has a breaker. All lanes share the host's places (bulkhead.go).
//
// What requests tell goes back to the model's actor as hints, four times a second (sweep.go): unload or sleep when idle, more or fewer
// replicas (scale.go), another worker for one that does its work badly (vitals.go). A name may lead to another model, and to a canary for a
// share of its requests (routes.go, trial.go).
//
// The hot path takes one short lock per lane and never passes a mailbox. What changes routes (the model actors' views) comes
// through the gateway's actor, in order; after a crash of that actor the lanes live on and the next views correct them.
package gateway
