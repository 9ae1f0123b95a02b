package engine

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestHalfRoundTripsEveryValue(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		f := half(h)
		if f != f {
			if back := half(toHalf(f)); back == back {
				t.Fatalf("%04x is not a number, came back as %g", h, back)
			}
			continue
		}
		if got := toHalf(f); got != h {
			t.Fatalf("%04x is %g, came back as %04x", h, f, got)
		}
	}
}

func TestToHalfIsNearest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.Float32Range(-65504, 65504).Draw(t, "f")
		h := toHalf(f)
		err := math.Abs(float64(half(h)) - float64(f))
		for _, other := range []uint16{h - 1, h + 1} {
			if o := half(other); math.Abs(float64(o)-float64(f)) < err {
				t.Fatalf("%g became %g though %g is nearer", f, half(h), o)
			}
		}
	})
}
