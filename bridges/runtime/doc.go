// Package runtime runs models on engines: it starts workers, waits until they are ready, adopts them after a restart of the
// coordinator, puts them to sleep and stops them. It also carries one request to one worker (Client).
//
// A worker is a child process that bridges/process starts, proves and ends, or a server that runs already and is only
// attached. A worker that does not prove its identity is asked nothing, and an answer on a worker's port counts only when it
// comes from the worker.
//
// The engines differ by a table of defaults (kinds), not by code. A worker counts as ready once it has answered a first
// request. The memory that a model needs is estimated here and measured when it is ready. When a worker is started, put to
// sleep and stopped is decided elsewhere. This package keeps no state that a restart would have to restore.
package runtime
