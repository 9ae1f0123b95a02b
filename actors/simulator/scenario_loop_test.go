package simulator

import (
	"testing"
	"time"
)

// Eight callers loop on a model. A person's request for another one that doesn't fit beside it waits for a few seconds and one turn: drain, stop, load.
// The callers get their model back afterwards.
func TestALoopOfCallersKeepsNobodyOut(t *testing.T) {
	const few, takes = 5 * time.Second, time.Second
	for seed := uint64(1); seed <= 20; seed++ {
		o := oneCard(plain("looped", 20), plain("other", 20))
		o.Seed = seed
		s := onStage(t, o)
		s.ready("looped")
		callers := make([]*request, 8)
		loop := func() {
			for i, r := range callers {
				if r == nil || r.ended {
					callers[i] = s.call("looped", takes)
				}
			}
		}
		waits := func(r *request) time.Duration {
			s.until("the person's request ends", s.Bound(), func() bool { loop(); return r.ended })
			if r.code != 0 {
				t.Fatalf("seed %d: %s", seed, r.code)
			}
			return s.elapsed - r.arrived - r.takes
		}
		s.until("the loop has begun", time.Minute, func() bool { loop(); return s.elapsed > 10*time.Second })
		load := s.o.Models[1].Load * 6 / 5
		turn := takes*6/5 + stopLongest + driverLongest + load
		for range 3 {
			if took := waits(s.call("other", takes)); took > few+turn+time.Second {
				t.Errorf("seed %d: a person waits for %s, more than %s and a turn of %s", seed, took, few, turn)
			}
			if took := waits(s.call("looped", takes)); took > few+turn+time.Second {
				t.Errorf("seed %d: the loop waits for %s afterwards", seed, took)
			}
		}
		for _, r := range callers {
			s.ended(r, s.Bound())
		}
		s.rests()
	}
}
