// Package simulator runs the same cores without mailboxes: one thread, virtual time, a seed.
//
// A World holds the pure machines of one host (an arbiter, a ledger for each device, a residency for each model), a journal in memory
// that seals and opens every decision, lanes of requests, and a false world of workers and devices. One loop takes the next event; all
// chance comes from the seed, so a run can be repeated step by step. Owed work is done by the kinds' own Perform over ports that answer at
// once or say that it isn't time yet.
//
//	Run(steps)  anything may go wrong: crashes at any step, lost acknowledgements, late and doubled reports, dying and hanging
//	            workers, strangers' memory, lost devices, clock jumps. After every step what must never be is looked for.
//	Calm        nothing goes wrong any more, and nobody nudges: everything must come to rest, and every model that fits must answer.
//
// It does not know any shell, mailbox, process or file. The lanes are a short model of the gateway's: first come, first served, with a
// bound on how many run; drains close them.
package simulator
