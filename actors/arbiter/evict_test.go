package arbiter

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestVictimsByPolicy(t *testing.T) {
	rs := []resident{
		{Model: "big_slow", Bytes: 8, Idle: 100 * time.Second, Held: 50 * time.Second, Load: 60 * time.Second},
		{Model: "small_fast", Bytes: 4, Idle: 50 * time.Second, Held: 300 * time.Second, Load: time.Second},
		{Model: "mid", Bytes: 4, Idle: 10 * time.Second, Held: 200 * time.Second, Load: 5 * time.Second},
	}
	for _, c := range []struct {
		policy string
		need   uint64
		want   []string
	}{
		{"lru", 4, []string{"big_slow"}},
		{"first_fit", 4, []string{"small_fast"}},
		{"cost_aware", 4, []string{"small_fast"}},
		{"cost_aware", 8, []string{"small_fast", "mid"}},
		{"lru", 12, []string{"big_slow", "small_fast"}},
		{"lru", 16, []string{"big_slow", "small_fast", "mid"}},
	} {
		victims, ok := chooseVictims(policies[c.policy], c.need, 0, rs, false)
		if got := names(victims); !ok || !slices.Equal(got, c.want) {
			t.Errorf("%s for %d: %v %t, want %v", c.policy, c.need, got, ok, c.want)
		}
	}
}

func TestVictimsSpareTheYoungWhileOthersWillDo(t *testing.T) {
	rs := []resident{{Model: "young", Bytes: 8, Young: true, Idle: time.Hour}, {Model: "old", Bytes: 8, Idle: time.Second}}
	if v, ok := chooseVictims(policies["lru"], 8, 0, rs, false); !ok || names(v)[0] != "old" {
		t.Errorf("took %v", names(v))
	}
	if v, ok := chooseVictims(policies["lru"], 16, 0, rs, false); !ok || len(v) != 2 {
		t.Errorf("the young one must go when nothing else will do: %v %t", names(v), ok)
	}
}

// Never busy, never pinned, enough, and nobody who wasn't needed.
func TestVictimSetsAreMinimal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 8).Draw(t, "n")
		rs := make([]resident, n)
		var movable uint64
		for i := range rs {
			rs[i] = resident{Model: string(rune('a' + i)), Bytes: rapid.Uint64Range(0, 20).Draw(t, "bytes"),
				Busy: rapid.Bool().Draw(t, "busy"), Pinned: rapid.Bool().Draw(t, "pinned"), Young: rapid.Bool().Draw(t, "young"),
				Idle: time.Duration(rapid.IntRange(0, 100).Draw(t, "idle")) * time.Second,
				Load: time.Duration(rapid.IntRange(0, 100).Draw(t, "load")) * time.Second}
			if !rs[i].Busy && !rs[i].Pinned {
				movable += rs[i].Bytes
			}
		}
		free, need := rapid.Uint64Range(0, 20).Draw(t, "free"), rapid.Uint64Range(1, 100).Draw(t, "need")
		p := policies[rapid.SampledFrom([]string{"first_fit", "lru", "cost_aware"}).Draw(t, "policy")]
		victims, ok := chooseVictims(p, need, free, rs, false)
		if ok != (free+movable >= need) {
			t.Fatalf("ok %t with free %d, movable %d, need %d", ok, free, movable, need)
		}
		var sum uint64
		for _, v := range victims {
			if v.Busy || v.Pinned {
				t.Fatalf("took %+v", v)
			}
			sum += v.Bytes
		}
		if ok && free+sum < need {
			t.Fatalf("%d + %d doesn't cover %d", free, sum, need)
		}
		for _, v := range victims {
			if free+sum-v.Bytes >= need {
				t.Fatalf("%s wasn't needed", v.Model)
			}
		}
	})
}

func names(rs []resident) []string {
	var out []string
	for _, r := range rs {
		out = append(out, r.Model)
	}
	return out
}
