package simulator

import (
	"reflect"
	"testing"
	"time"
)

// perWorld is how long one rough world lives before it must come to rest.
const perWorld = 5000

func TestRoughWorldsStaySafeAndComeToRest(t *testing.T) {
	began, taken := time.Now(), 0
	for seed := uint64(1); taken < stepsWanted(t); seed++ {
		w := New([]func(uint64) Options{small, drowsy, replicated, pairedReplicated, pairedDrowsy, paired, shared}[seed%7](seed))
		if err := w.Run(t.Context(), perWorld); err != nil {
			t.Fatal(err)
		}
		if err := w.Calm(t.Context()); err != nil {
			t.Fatal(err)
		}
		taken += w.steps
	}
	t.Logf("%d steps, %.0f a second", taken, float64(taken)/time.Since(began).Seconds())
}

func TestGoodWorldsKeepTheirBound(t *testing.T) {
	for name, world := range map[string]func(uint64) Options{"one host": small, "replicas": replicated, "two hosts": paired, "replicas on two hosts": pairedReplicated} {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(1); seed <= 4; seed++ {
				o := world(seed)
				o.Faults = Faults{}
				w := New(o)
				if err := w.Run(t.Context(), 10000); err != nil {
					t.Fatal(err)
				}
				if err := w.Calm(t.Context()); err != nil {
					t.Fatal(err)
				}
				t.Logf("%d actors of models, %+v", len(w.models), w.Summary())
			}
		})
	}
}

func TestTheSameSeedIsTheSameWorld(t *testing.T) {
	run := func() Summary {
		w := New(small(7))
		if err := w.Run(t.Context(), 3000); err != nil {
			t.Fatal(err)
		}
		return w.Summary()
	}
	if a, b := run(), run(); !reflect.DeepEqual(a, b) {
		t.Errorf("one seed, two worlds:\n%+v\n%+v", a, b)
	}
}
