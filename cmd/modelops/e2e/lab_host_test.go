//go:build e2e

package e2e_test

// labHost is a `modelops serve` at a host of a laboratory.
type labHost struct {
	*daemon
	lab *lab
}
