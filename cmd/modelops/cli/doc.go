// Package cli is the command line of modelops. Most commands are clients of a running daemon: they connect over NATS (client.go), ask,
// and print the answer in words or, with --json, as JSON. Commands about the past read the journal (source.go), of a running daemon or of
// a stopped one's files. `serve` runs the daemon that main passes in (program.go); this package does not know how it is built.
//
//	root.go exit.go   the commands, the global flags, the exit codes
//	print.go          tables, JSON, durations
//	place.go          where the configuration, the journal and the daemon of a host are
package cli
