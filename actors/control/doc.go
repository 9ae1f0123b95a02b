// Package control holds the operations behind every door, each once: everything but inference that a person or a program may ask of a host.
//
// It decides nothing: it finds the actor, asks it, and waits where the answer comes later. It doesn't depend on doors, the configuration file
// or the journal: they are ports. An operation takes and gives messages, so that doors can be made from a table.
//
//	control.go    the ports, and what all operations share
//	load.go       load, unload and list models
//	pin.go        keep a model from eviction
//	lease.go      device memory for programs
//	memory.go     the gateway's placer; hints, and moves that make a large free block
//	actor.go      the state of any actor, and a command to it
//	host.go       status, queue, configuration, and which model answers a name
//	journal.go    decisions, page by page
//	why.go        explanations
//	requests.go   the latest requests, as the gateway tells them
//	jobs.go       training and evaluation jobs: job_spec.go what is asked for, job_view.go how they are shown
//	catalogue.go  the models as the host actor sees them
package control
