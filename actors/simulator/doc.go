// Package simulator runs the shipped kinds on one goroutine, in virtual time, from a seed.
//
// A World holds the hosts of one coordinator: an arbiter, a ledger for each device, an actor for each model and replica. Each is an
// entity.Machine, the one that the daemon runs, in a node that gives it virtual time, a journal in memory and faults. Around them are the
// request pools, as the gateway ships them, and a false world of workers and devices. One loop takes the next event from the agenda. All chance
// comes from the seed, so a run can be repeated step by step. Owed work is done by the kinds' own Perform, over ports that answer at once or park the try until
// something happens.
//
//	Run(steps)  anything may go wrong: crashes at any step, lost acknowledgements, late and doubled reports, workers that die or hang,
//	            foreign memory, lost devices, clock jumps. After every step the World checks its invariants.
//	Calm        nothing goes wrong any more. Everything must come to rest without another command, and every model that fits must answer.
//
// A Cluster is several Worlds on one agenda, each the coordinator of a host with an arbiter, ledgers, a journal and a table of members of its own. Its links
// (links.go) are cut, slow and lossy; far.go stands for the daemon's wiring between hosts.
//
// It uses no protoactor, mailbox, process or file. front.go and gate.go stand for the gateway: they keep the requests that the pools know
// by number, and do in virtual time what the pools decide.
package simulator
