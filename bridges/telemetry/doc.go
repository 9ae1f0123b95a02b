// Package telemetry is how the house is watched: the metrics, in a registry of its own, and the log.
//
// All metrics stand in one table (catalogue.go), from which the registry and docs/metrics.md are made. The number of
// series is bounded: a model that nobody declared counts as "_unknown", an HTTP path is a route's pattern. The log hides
// what looks like a secret and what people said to a model. It decides nothing and starts nothing.
package telemetry
