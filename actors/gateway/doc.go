// Package gateway is where requests enter a host: routes, waiting, cancellation, drains. It is not journaled.
//
// Each model name has a request pool (package pool decides: order, breakers, outlier detection, scale). The gateway keeps what a pure pool
// can't: locks, channels, contexts and timers. A request's context is its life: when it ends, the request leaves the pool in whatever state it
// is in.
//
//	Admit ─▶ refused (queue full, breaker open, unknown model)
//	      ─▶ granted ──Release──▶ gone
//	      ─▶ waiting ──endpoint ready and a place free──▶ granted
//	                 ──model failed / context over──▶ refused
//
// Requests for a model that isn't ready wait in its pool while the Placer is asked for a placement of its name, one question at a time
// (seek.go); the host is not known before. All pools share the host's places (bulkhead.go). Four times a second each pool is swept
// (sweep.go): it sends model actors hints to unload, sleep, scale or replace a worker. A name may lead to another model, and to a canary for a
// share of its requests (routes.go, trial.go).
//
// The hot path takes one short lock per pool and never passes a mailbox. Views of model actors, which change routes and endpoints, come through
// the gateway's actor, in order; after a crash of that actor the pools live on and the next views correct them.
package gateway
