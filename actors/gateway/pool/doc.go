// Package pool decides over the requests of one model name: which endpoint runs a request, which requests wait and in which order, and which
// hints the model actors get. It is the pure part of the gateway: no lock, goroutine, channel, context or clock. Time is an argument,
// requests are tickets (numbers), and the caller keeps what belongs to a ticket. The gateway calls it under a lock, the simulator in virtual
// time.
//
// A pool has an endpoint for each worker that serves the name: the model's own and its replicas', on every host, by actor id. An endpoint runs
// at most max_concurrent requests; the pool keeps max_queue_size waiting and refuses more at once.
//
//	Admit ──▶ refused (queue full, breakers open)
//	      ──▶ runs at an endpoint ──Finish──▶ gone
//	      ──▶ waits ──Dispatch──▶ runs at an endpoint
//	                ──Leave, RefuseAll──▶ gone
//
// The caller calls Dispatch after each step that may have made a place free: Finish, Update, Configure.
//
// While a request waits (or a want is open: a load by hand) and no endpoint is ready or on its way, Intents has a Seek: a question for a
// placement of the name. The caller asks it and gives the answer to Answered. One Seek is open at a time; it is repeated after pauses until an
// endpoint is on its way, because the pool isn't told when a placement is refused or given up. An endpoint that sleeps is woken instead.
//
//	Seek ──▶ Placed ──▶ a view: placing, loading, ... ready
//	     ──▶ Waits  ──pause──▶ Seek
//	     ──▶ error  ──▶ every request that waits and every want is refused
//
//	state.go     Pool, Endpoint, and questions on them
//	decide.go    Admit, Dispatch, Leave, Finish, Update, Close, RefuseAll
//	seek.go      Want, Intents, Answered: how an endpoint comes to be
//	fail.go      how long a model that failed to load is refused by its last error
//	order.go     priority classes and aging
//	breaker.go   each endpoint's circuit breaker
//	examine.go   trials: whether failures and silence are the worker's
//	outlier.go   outlier detection: an endpoint that is up and does its work badly
//	scale.go     how many replicas the load needs
//	sweep.go     what follows from the passing of time, as hints to model actors
//	bulkhead.go  the bound over all pools of a host, a port
//	line.go      which pool gets a place of the host that becomes free
package pool
