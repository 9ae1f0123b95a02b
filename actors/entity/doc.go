// Package entity is the one event-sourced shell that every journaled actor lives in.
//
// It recovers the state from snapshot and journal, takes one command at a time, lets the kind's pure Decide say what
// happened, appends that as one decision, folds it with Evolve, answers the caller, and then settles: work that the new
// state owes and nobody does is started, work that runs and is no longer owed is cancelled. Nothing is answered and
// nothing is touched before the append was acknowledged.
//
//	          command                      decision (one fsync)
//	caller ───────────▶ Decide(state) ───▶ Append ───▶ Evolve ───▶ answer
//	                        ▲                             │
//	                        │ command                     ▼
//	                     Perform ◀── start / cancel ── Owed(state)
//
// It does not know any kind, any stream, any process. A conflict or an append whose outcome nobody knows ends the
// incarnation with a panic: the supervisor starts a new one, which reads what really is in the journal.
package entity
