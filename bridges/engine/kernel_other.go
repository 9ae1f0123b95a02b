//go:build !amd64

package engine

// dot4 multiplies four rows, laid out one after the other in w, with x.
func dot4(w, x []float32) (float32, float32, float32, float32) { return dot4Plain(w, x) }
