package journal

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"modelops/messages"
)

// Several writers append with expectations that are often stale. Whatever the order: what was answered with a sequence is there, once, and
// each actor's chain is what its accepted writers believe.
func TestStaleWritersNeverBreakTheChain(t *testing.T) {
	o := testOptions(t, t.TempDir())
	o.noSync = true
	j := mustOpen(t, o)
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		type attempt struct {
			actor int
			stale bool
		}
		plans := rapid.SliceOfN(rapid.SliceOfN(rapid.Custom(func(t *rapid.T) attempt {
			return attempt{rapid.IntRange(0, 2).Draw(t, "actor"), rapid.IntRange(0, 3).Draw(t, "stale") == 0}
		}), 1, 12), 1, 4).Draw(rt, "writers")
		start := j.Sequence()
		var mu sync.Mutex
		accepted := map[uint64]string{}
		var writers sync.WaitGroup
		for w, plan := range plans {
			writers.Go(func() {
				for n, at := range plan {
					actor := messages.ModelActor(testHost, fmt.Sprintf("r%d-%d", round, at.actor))
					expected, err := j.Last(context.Background(), actor)
					if err != nil {
						panic(err)
					}
					if at.stale {
						expected = start // never right: it is another round's, or 0 where the actor has decided
					}
					id := fmt.Sprintf("%d-%d-%d", round, w, n)
					seq, err := j.Append(context.Background(), Append{Actor: actor, Expected: expected, Events: wanted(id), Meta: messages.Meta{ID: id}})
					if err != nil {
						if messages.CodeOf(err) != messages.Conflict {
							panic(err)
						}
						continue
					}
					mu.Lock()
					accepted[seq] = id
					mu.Unlock()
				}
			})
		}
		writers.Wait()
		heads := map[messages.ActorID]uint64{}
		for _, r := range readAll(t, j, Query{After: start}) {
			if accepted[r.Sequence] != r.ID {
				rt.Fatalf("sequence %d holds %s, its writer was told %q", r.Sequence, r.ID, accepted[r.Sequence])
			}
			if r.Expected != heads[r.Actor] {
				rt.Fatalf("sequence %d of %s follows %d, want %d", r.Sequence, r.Actor, r.Expected, heads[r.Actor])
			}
			heads[r.Actor] = r.Sequence
			delete(accepted, r.Sequence)
		}
		if len(accepted) != 0 {
			rt.Fatalf("acknowledged and not there: %v", accepted)
		}
	})
	mustClose(t, j)
	mustClose(t, mustOpen(t, o))
}
