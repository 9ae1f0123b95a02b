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
// The hot path takes one short lock per lane and never passes a mailbox. What changes routes (the model actors' views) comes
// through the gateway's actor, in order; after a crash of that actor the lanes live on and the next views correct them.
package gateway
