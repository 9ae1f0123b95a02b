package arbiter

import (
	"slices"
	"testing"
	"time"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

func TestPressureIsRelieved(t *testing.T) {
	full := card(10, 6, 2)
	pinned, young, busy := idle("model/h/pinned", 1), idle("model/h/young", 1), idle("model/h/busy", 1)
	pinned.Pinned, young.Young, busy.Active = true, true, 1
	for i, a := range []*messages.Allocation{pinned, young, busy} {
		a.IdleMs = int64(90_000 + i)
	}
	held := func(a *messages.Allocation) { a.HeldMs = 90_000 }
	c, b, a := onGPU(0, "c", 1, idleFor(time.Second), held), onGPU(0, "b", 1, idleFor(5*time.Second), held), onGPU(0, "a", 2, idleFor(9*time.Second), held)
	for level, want := range map[uint64][]string{8: nil, 7: {"model/h/a"}, 6: {"model/h/a"}, 5: {"model/h/a", "model/h/b"}, 4: {"model/h/a", "model/h/b"}} { // c was used last
		m := entitytest.Drive(Kind(Rules{Policy: "lru"}, nil, nil), messages.ArbiterActor())
		m.Readings = seen([]*messages.GpuView{full}, pinned, young, busy, c, b, a)
		r, err := m.Do(&messages.RelievePressure{Gpu: full.Id, LevelBytes: level})
		var got []string
		if len(r.Events) > 0 {
			for _, v := range r.Events[0].(*messages.PressureRelieved).Victims {
				got = append(got, v.Holder)
			}
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("8 of 10 are used, down to %d: %v (%v), want %v", level, got, err, want)
		}
	}
}

// Below the limit, the model that was placed or used last stays: it was placed by the limit, and would be evicted by the threshold at once, again
// and again. When other programs need the memory it leaves too.
func TestPressureSparesTheLatest(t *testing.T) {
	for name, c := range map[string]struct {
		others          bool
		oldIdle, newAge time.Duration
		want            []string
	}{
		"just placed":                {false, 20 * time.Second, 6 * time.Second, []string{"model/h/old"}},
		"placed before the last use": {false, 2 * time.Second, time.Minute, []string{"model/h/new"}},
		"others need the memory":     {true, 20 * time.Second, 6 * time.Second, []string{"model/h/new", "model/h/old"}},
	} {
		full := card(10, 9, 0)
		older := onGPU(0, "old", 5, idleFor(c.oldIdle), func(a *messages.Allocation) { a.HeldMs = 90_000 })
		newer := onGPU(0, "new", 4, idleFor(time.Hour), func(a *messages.Allocation) { a.HeldMs = c.newAge.Milliseconds() })
		m := entitytest.Drive(Kind(Rules{Policy: "lru"}, nil, nil), messages.ArbiterActor())
		m.Readings = seen([]*messages.GpuView{full}, older, newer)
		r, err := m.Do(&messages.RelievePressure{Gpu: full.Id, LevelBytes: 1, Foreign: c.others})
		var got []string
		for _, e := range r.Events {
			for _, v := range e.(*messages.PressureRelieved).Victims {
				got = append(got, v.Holder)
			}
		}
		if slices.Sort(got); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v (%v), want %v", name, got, err, c.want)
		}
	}
}
