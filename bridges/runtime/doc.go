// Package runtime starts, watches, adopts and ends workers: the processes that run models. It also carries one request to
// one worker (Client).
//
// A worker is a child in its own process group that outlives the coordinator. Its environment holds a nonce, and together
// with the kernel's boot id, its pid and its start time that proves who it is. Nothing here signals, watches or trusts a
// process that did not prove itself, and nobody else's answer on a worker's port is believed.
//
// The engines differ by a table of defaults (kinds), not by code. Some are only attached: they run already, and nothing is
// ended there. A worker counts as ready once it answered a first request. What a model needs is estimated here and measured
// when it is ready; when it is started, put to sleep and ended is decided elsewhere. This package keeps no state that a
// restart would have to restore. Linux only: it leans on pidfds and /proc.
package runtime
