// Package telemetry holds the metrics, in a registry of its own, and the log.
//
// All metrics stand in one table (catalogue.go), from which the registry and docs/metrics.md are made. The number of
// series is bounded: a model that is not declared counts as "_unknown", an HTTP path is a route's pattern. The log hides
// what looks like a secret, and prompts and answers. It decides nothing and starts nothing.
package telemetry
