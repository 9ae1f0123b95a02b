// Package entity is the event-sourced machine that every journaled actor runs on.
//
// A Machine recovers the state from snapshot and journal. It takes one command at a time: the kind's pure Decide gives events or a refusal, the
// events are appended as one decision, Evolve folds them, and the caller is answered. Then the machine settles: it starts the work that the new
// state owes and that nothing does yet, and cancels the work that runs and is no longer owed. Nothing is answered and no work begins before
// the append is acknowledged.
//
//	          command                      decision (one fsync)
//	caller ───────────▶ Decide(state) ───▶ Append ───▶ Evolve ───▶ answer
//	                        ▲                             │
//	                        │ command                     ▼
//	                     Perform ◀── start / cancel ── Owed(state)
//
// A Machine is plain Go: clock, ids, journal, goroutines and timers belong to its World. There are three worlds: the shell here, which lives in
// a protoactor mailbox; the simulator's node; the bench of package entitytest.
//
// An append that finds another writer's decision, or whose outcome is unknown, stops the machine with a *Rebuild error, because its state may
// differ from the journal. The shell then reads the journal again, and waits for it as long as it can't be read (await.go). That is no crash:
// supervisors count panics only. A refusal of Decide, whatever its code, and an append of which nothing was stored leave the machine as it is.
//
// The package doesn't depend on any kind, JetStream stream or process.
package entity
