// Command modelops is the daemon of one host and the tool that speaks to it. It is wiring: the only place that knows both actors and bridges,
// and it decides nothing.
//
//	main.go       gives the command line (package cli) its version and the daemon
//	daemon.go     what a daemon is: opened in order, closed in reverse
//	open.go       the journal, the devices and runtimes, and the doors
//	wire.go       the actors and what each of them is given, and how they come back at a start
//	figures.go    limits of requests, from the configuration in force
//	listen.go     the listeners of the doors
//	devices.go    which bridge reads the devices
//	store.go workers.go   fit the journal and the runtimes to the actors' ports
package main
