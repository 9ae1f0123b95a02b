// Command modelops is the daemon of one host and the tool that speaks to it. Wiring lives here and nowhere else: this is the
// only place that knows both actors and bridges.
//
//	main             main.go gives the command line (package cli) its version and the daemon
//	serve            daemon.go opens what a host stands on, in order, and closes it in reverse
//	ports            store.go devices.go control.go fit what bridges offer to what actors and edges ask for
package main
