// Command modelops is the daemon of one host and the tool that speaks to it. Wiring lives here and nowhere else: this is the
// only place that knows both actors and bridges.
//
//	serve            daemon.go opens what a host stands on, in order, and closes it in reverse
//	ports            store.go devices.go control.go fit what bridges offer to what actors and edges ask for
//	everything else  cli_*.go, clients of a running daemon over NATS
package main
