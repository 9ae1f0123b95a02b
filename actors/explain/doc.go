// Package explain answers "why" from the journal: why a model is where it is, which models were evicted for which, which devices were
// rejected with which sums, what a lease or a request went through, and what would have to change.
//
// It decides nothing. An event that it has no words for costs a sentence. What is not in the journal comes as Present and Request.
//
//	a model      its last placement with all candidates, evictions, failures, and its phase
//	a job        its last placement, its attempts and failures, and its phase
//	a placement  from the decision to the reservation, the hand-over, and how the load ended
//	a lease      who holds it, since when, for how long, and how it ended
//	a goal       its phase, its runs, its target and the sums of its budget
//	a request    what it waited for; from memory, or from the decision that it caused
//
// # The index
//
// A Book answers from an index by subject, so that a question costs the same however long the journal is: the index says where the facts are,
// and some thirty decisions are read from the journal by their sequences. The index holds
//
//	latest   the state of every actor, folded by the kinds' own Evolve (index.go, latest.go)
//	stories  of each model the last 32 facts, and where its last placement, eviction, failure and so on are (story.go)
//	trails   where the facts of placements, leases and requests are (trail.go)
//
// States and stories grow with the number of actors. Trails grow with the journal up to a bound (limits, index.go); they then hold the last
// 1.5 million events or so. A subject that is older, or unknown, is searched for by reading the whole journal once, for all questions that wait
// at the time.
//
// The index is built from the journal in the background some seconds after the start, or by the first question. From then on the journal's
// feed keeps it up to date (Take), and a question reads what the feed hasn't brought yet. A question that comes while the index is built
// waits for it; no two build it at a time.
package explain
