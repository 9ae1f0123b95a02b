// Package explain answers "why" from the journal: why a model is where it is, who left for whom, which devices were rejected with which
// sums, what a lease or a request went through, and what would have to change.
//
// It is pure. A Reading takes decisions in order, keeps what the one subject needs (a bounded window of facts, and the latest state of
// models and ledgers), and says it in words and numbers. It decides nothing and is never folded into a state: an event it does not know
// costs a sentence, not a truth. What is not in the journal comes as Present and Request.
//
//	a model      its last placement with all candidates, evictions, failures, and its phase
//	a placement  from the decision to the reservation, the hand-over, and how the load ended
//	a lease      who holds it, since when, for how long, and how it ended
//	a request    what it waited for; from memory, or from the decision that it caused
package explain
