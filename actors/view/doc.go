// Package view holds projections: the latest view of every actor by its ActorID, and the latest reading of every device.
//
// The shells feed it after each decision, in the order of the actor's sequence. It is advice: an actor decides by its own state, never by
// a projection. It journals nothing and is empty when the host starts.
//
//	projection.go  what is known, and how it is read
//	watch.go       versioned deltas for whoever follows it, and a wait for one model
//	ledgers.go     what the scheduler sees: the projection joined with what runs and waits at the gateway
//
// Every change has a version, and versions rise. A watcher holds nothing in the projection but the version it has: a slow one reads the
// latest state of each actor once, however often it changed meanwhile.
package view
