// Package config reads the coordinator's configuration: one YAML file, its per-host overrides and the environment.
//
// It owns the names, units, defaults and limits of every setting, and says all that is wrong with a configuration at
// once, each with its place. It starts nothing, watches nothing and knows no other room; a Config is a value that does
// not change after Load. It also answers questions about itself, such as whose key this is (Authenticate).
//
// Later wins: defaults < file < hosts.<name> < flat variables (MOC_GRPC_PORT) < MOC_SECTION__KEY variables.
package config

//go:generate go run ./schemagen ../../docs/cluster.schema.json
