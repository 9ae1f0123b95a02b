package simulator

import (
	"container/heap"
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// universe is what the hosts of a simulation share: time, chance, and what is told of them.
type universe struct {
	seed    uint64
	rng     *rand.Rand
	elapsed time.Duration // the monotonic clock
	agenda  agenda
	steps   int
	still   int // steps since time has passed
	calm    bool
	ids     uint64
	told    trace
	broken  *Violation
	worlds  []*World // of each coordinator
}

func newUniverse(seed uint64) *universe {
	return &universe{seed: seed, rng: rand.New(rand.NewPCG(seed, 0x5eed))}
}

func (u *universe) newID() string {
	u.ids++
	return fmt.Sprintf("id%d", u.ids)
}

// Run takes steps, with all that may go wrong. Its error is a *Violation, or the context's.
func (u *universe) Run(ctx context.Context, steps int) error {
	for n := 0; n < steps; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if !u.step() {
			break
		}
	}
	return u.err()
}

func (u *universe) err() error {
	if u.broken == nil {
		return nil
	}
	return u.broken
}

// stillMost is how many steps may be taken at one moment: something waits for no time, again and again.
const stillMost = 10_000

// step does what is next; false when nothing is, or something that must never be was seen.
func (u *universe) step() bool {
	if len(u.agenda) == 0 || u.broken != nil {
		return false
	}
	e := heap.Pop(&u.agenda).(event)
	for _, w := range u.worlds {
		w.tally.passed(w, e.at-u.elapsed)
	}
	if u.still++; e.at > u.elapsed {
		u.still = 0
	} else if u.still > stillMost {
		u.violated("%d steps in no time", u.still)
	}
	u.elapsed = e.at
	u.steps++
	if e.of == nil {
		e.do()
	} else {
		e.of.guarded(e.do)
	}
	for _, w := range u.worlds {
		if w.touched { // with many hosts most worlds are as they were after the step before
			w.touched = false
			w.check()
		}
	}
	return u.broken == nil
}
