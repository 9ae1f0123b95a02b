// Package grpcapi is the gRPC door: service modelops.ModelOps, its health and its reflection, on a port of its own.
//
// It turns wire messages into calls of the gateway (inference) and of messages.Operations (everything else) and turns typed errors into
// statuses by the table in messages. It decides nothing, keeps no state between requests and never retries.
//
// Lifetimes: a call's context governs its request, so a client that left or a deadline that passed ends it wherever it is. The
// server's own end is Drain (health says NOT_SERVING), then Stop (refuse new requests, let running ones finish, then cut them off).
package grpcapi
