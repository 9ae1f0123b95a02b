// Package forward runs requests at workers of other hosts: Client passes them on, Server runs what others pass on.
//
// A request goes as it is: method, path, headers, and its body piece by piece; so does the answer. Nothing holds a whole body. A reader that is slow
// slows down the worker, and a caller that leaves ends the worker's request. The caller's principal, deadline, id and the time that it has waited
// travel too, since the owner of the worker admits the request again, by its own queue and bulkhead. It never passes it on.
//
// Many requests share a connection. It carries frames (frame.go), each of one request, so that what many have to say goes out in one write; a request
// that isn't read stops alone, within its window. It was a stream of gRPC for each request, which took twice the processor time of what is here
// (BenchmarkPassage): a stream there is several frames, contexts and goroutines more.
//
// The package opens no connections: who makes it brings them.
package forward
