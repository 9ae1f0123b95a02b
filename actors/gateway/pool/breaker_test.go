package pool

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"modelops/actors/entity/entitytest"
)

// The breaker opens after threshold failures in a row, and then lets exactly one through at a time, until one succeeds.
func TestBreakerInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := &breaker{threshold: rapid.IntRange(1, 4).Draw(t, "threshold"), reset: 20 * time.Second}
		now, next, row := entitytest.Epoch, uint64(0), 0
		running := map[uint64]bool{} // true = let in while the breaker was open
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 12).Draw(t, "seconds")) * time.Second)
			if rapid.Bool().Draw(t, "admit") {
				next++
				was := b.state(now)
				ok, retry := b.allows(now)
				if ok {
					b.enter(next)
				}
				if ok == (was == Opened) && was != HalfOpen || !ok && retry <= 0 {
					t.Fatalf("%s: let in %t, retry %s", was, ok, retry)
				}
				if ok {
					running[next] = b.open
				}
			} else if ts := sorted(running); len(ts) > 0 {
				ticket := rapid.SampledFrom(ts).Draw(t, "ticket")
				probe, open := running[ticket], b.open
				delete(running, ticket)
				switch rapid.IntRange(0, 2).Draw(t, "outcome") {
				case 0:
					b.forgive(ticket)
					if b.open != open {
						t.Fatal("a caller that left moved the breaker")
					}
				case 1:
					if b.record(ticket, false, now); !open || probe {
						row = 0
					}
				case 2:
					if b.record(ticket, true, now); !open || probe {
						row++
					}
				}
			}
			probes := 0
			for _, probe := range running {
				if probe && b.open {
					probes++
				}
			}
			if b.open != (row >= b.threshold) || probes > 1 {
				t.Fatalf("open %t after %d failures in a row of %d; %d probes run", b.open, row, b.threshold, probes)
			}
		}
	})
}
