package engine

import "golang.org/x/sys/cpu"

// haveAVX2 also tells that there is FMA and that the operating system saves the wide registers.
var haveAVX2 = cpu.X86.HasAVX2 && cpu.X86.HasFMA

//go:noescape
func dot4AVX2(w, x *float32, stride, n int, out *[4]float32)

// dot4 multiplies four rows, laid out one after the other in w, with x.
func dot4(w, x []float32) (float32, float32, float32, float32) {
	n := len(x) &^ 7
	if !haveAVX2 || n == 0 {
		return dot4Plain(w, x)
	}
	_ = w[4*len(x)-1] // the assembly trusts the lengths
	var out [4]float32
	dot4AVX2(&w[0], &x[0], len(x), n, &out)
	for i := n; i < len(x); i++ {
		for r := range out {
			out[r] += w[r*len(x)+i] * x[i]
		}
	}
	return out[0], out[1], out[2], out[3]
}
