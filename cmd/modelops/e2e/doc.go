// Package e2e holds the tests of the built binary against real parts: engines, clients, disks, and kill -9. They carry the build
// tag e2e; `make e2e` runs them with what they need.
//
// Each test starts its own `modelops serve` on free ports and a directory of its own, and uses it from outside only. What a
// test needs and the machine doesn't have (a real llama-server, the nats CLI, a mount) is a skip that says so.
package e2e
