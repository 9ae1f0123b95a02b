// Package view holds projections: the latest view of every actor by its ActorID, and the latest reading of every device.
//
// The shells feed it after each decision, in the order of the actor's sequence. It may be old when it is read: an actor decides by its own
// state, never by a projection. It journals nothing and is empty when the host starts.
//
//	projection.go  what is known, and how it is read
//	watch.go       versioned deltas for watchers, and a wait for one model
//	report.go      what this host tells the others of its own actors
//	follow.go      what the others tell of theirs
//	files.go       which models are other files on other hosts
//	ledgers.go     the scheduler's readings: the projection joined with what runs and waits at the gateway
//
// Every change has a version, and versions rise. The projection keeps nothing for a watcher, which passes its version: a slow one reads the
// latest state of each actor once, however often it changed meanwhile.
package view
