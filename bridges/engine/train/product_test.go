package train

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// naive is the product as one would write it down.
func naive[T real](dst, a, b view[T], add bool) {
	for r := range dst.rows {
		for c := range dst.cols {
			var sum T
			for k := range a.cols {
				sum += a.v[r*a.rs+k*a.cs] * b.v[k*b.rs+c*b.cs]
			}
			if add {
				sum += dst.v[r*dst.rs+c]
			}
			dst.v[r*dst.rs+c] = sum
		}
	}
}

func random[T real](rng *rand.Rand, n int) []T {
	v := make([]T, n)
	for i := range v {
		v[i] = T(rng.NormFloat64())
	}
	return v
}

// Any shape, transposed or not, added or not, gives what the naive product gives; one and three threads give the same bits.
func TestProducts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.OneOf(rapid.IntRange(1, 40), rapid.IntRange(1, 300))
		m, n, k := size.Draw(t, "rows"), size.Draw(t, "cols"), size.Draw(t, "k")
		ta, tb, add := rapid.Bool().Draw(t, "a transposed"), rapid.Bool().Draw(t, "b transposed"), rapid.Bool().Draw(t, "add")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		compareProducts[float64](t, rng, m, n, k, ta, tb, add, 1e-12)
		compareProducts[float32](t, rng, m, n, k, ta, tb, add, 1e-4)
	})
}

func compareProducts[T real](t *rapid.T, rng *rand.Rand, m, n, k int, ta, tb, add bool, tolerance float64) {
	a, b, start := dense(random[T](rng, m*k), m, k), dense(random[T](rng, k*n), k, n), random[T](rng, m*n)
	if ta {
		a = dense(a.v, k, m).transposed()
	}
	if tb {
		b = dense(b.v, n, k).transposed()
	}
	want, one, three := slices.Clone(start), slices.Clone(start), slices.Clone(start)
	naive(dense(want, m, n), a, b, add)
	newTeam[T](1).mul(dense(one, m, n), a, b, add)
	newTeam[T](3).mul(dense(three, m, n), a, b, add)
	for i := range want {
		if math.Abs(float64(want[i]-one[i])) > tolerance*math.Sqrt(float64(k)) {
			t.Fatalf("element %d is %v, want %v", i, one[i], want[i])
		}
	}
	if !slices.Equal(one, three) {
		t.Fatal("three threads give other bits than one")
	}
}

// A tile in wide registers is a tile without them, but for the rounding of a fused multiply-add.
func TestPlainTile(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	a, b := random[float32](rng, tileRows*9), random[float32](rng, tileCols*9)
	for _, add := range []bool{false, true} {
		wide, plain := random[float32](rng, tileRows*20), make([]float32, tileRows*20)
		copy(plain, wide)
		whole(wide, 20, a, b, 9, add)
		wholePlain(plain, 20, a, b, 9, add)
		for i := range wide {
			if math.Abs(float64(wide[i]-plain[i])) > 1e-5 {
				t.Fatal(add, i, wide[i], plain[i])
			}
		}
	}
}

func BenchmarkProduct(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	const tokens, width, ffn = 200, 128, 352
	x, w, y := dense(random[float32](rng, tokens*width), tokens, width), dense(random[float32](rng, ffn*width), ffn, width), dense(make([]float32, tokens*ffn), tokens, ffn)
	flops := 2.0 * tokens * width * ffn
	rate := func(b *testing.B) {
		b.ReportMetric(flops*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
	}
	b.Run("naive", func(b *testing.B) {
		for b.Loop() {
			naive(y, x, w.transposed(), false)
		}
		rate(b)
	})
	b.Run("plain", func(b *testing.B) {
		pa, pb, c := random[float32](rng, tileRows*blockK), random[float32](rng, tileCols*blockK), make([]float32, tileRows*tileCols)
		for b.Loop() {
			wholePlain(c, tileCols, pa, pb, blockK, false)
		}
		b.ReportMetric(2.0*tileRows*tileCols*blockK*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
	})
	for _, threads := range []int{1, 2} {
		b.Run(fmt.Sprintf("tiles/threads=%d", threads), func(b *testing.B) {
			team := newTeam[float32](threads)
			for b.Loop() {
				team.mul(y, x, w.transposed(), false)
			}
			rate(b)
		})
	}
}
