//go:build languagepending

package arbiter

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"modelops/messages"
)

func idleModel(model string, bytes uint64, idleS, heldS, loadS int64) resident {
	return resident{bytes: bytes, Resident: &messages.Allocation{Model: model, Bytes: bytes, Phase: messages.ModelView_ready,
		IdleMs: idleS * 1000, HeldMs: heldS * 1000, LoadMs: loadS * 1000}}
}

func TestVictimsByPolicy(t *testing.T) {
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
		rs := []resident{idleModel("big_slow", 8, 100, 50, 60), idleModel("small_fast", 4, 50, 300, 1), idleModel("mid", 4, 10, 200, 5)}
		victims, ok := chooseVictims(policies[c.policy], c.need, 0, rs, false, nil)
		if got := names(victims); !ok || !slices.Equal(got, c.want) {
			t.Errorf("%s for %d: %v %t, want %v", c.policy, c.need, got, ok, c.want)
		}
	}
}

func TestVictimsSpareTheYoungWhileOthersWillDo(t *testing.T) {
	rs := []resident{idleModel("young", 8, 3600, 1, 1), idleModel("old", 8, 1, 3600, 1)}
	rs[0].Young = true
	if v, ok := chooseVictims(policies["lru"], 8, 0, slices.Clone(rs), false, nil); !ok || names(v)[0] != "old" {
		t.Errorf("took %v", names(v))
	}
	if v, ok := chooseVictims(policies["lru"], 16, 0, rs, false, nil); !ok || len(v) != 2 {
		t.Errorf("the young one must go when nothing else will do: %v %t", names(v), ok)
	}
}

func TestBusyModelsGoLastAndOnlyForTheOverdue(t *testing.T) {
	rs := []resident{idleModel("busy", 8, 0, 3600, 1), idleModel("loading", 8, 0, 0, 1), idleModel("old", 8, 1, 3600, 1)}
	rs[0].Active, rs[1].Phase = 1, "loading"
	rs[0].use, rs[1].use = busy, busy
	if v, ok := chooseVictims(policies["lru"], 16, 0, slices.Clone(rs), false, nil); ok {
		t.Errorf("took %v", names(v))
	}
	if v, ok := chooseVictims(policies["lru"], 16, 0, slices.Clone(rs), true, nil); !ok || !slices.Equal(names(v), []string{"old", "busy"}) {
		t.Errorf("for the overdue: %v %t", names(v), ok)
	}
	if v, ok := chooseVictims(policies["lru"], 24, 0, rs, true, nil); ok {
		t.Errorf("a model that loads never goes: %v", names(v))
	}
}

func TestWhoSleepsIsAskedToLeaveLikeAnybodyIdle(t *testing.T) {
	rs := []resident{idleModel("asleep", 8, 3600, 3700, 1), idleModel("dozing", 8, 3600, 3700, 1), idleModel("waking", 8, 3600, 3700, 1)}
	rs[0].Phase, rs[1].Phase, rs[2].Phase = messages.ModelView_asleep, "dozing", "waking"
	for i := range rs {
		rs[i].use = useOf(rs[i].Allocation, 1e9)
	}
	if v, ok := chooseVictims(policies["cost_aware"], 8, 0, slices.Clone(rs), false, nil); !ok || !slices.Equal(names(v), []string{"asleep"}) {
		t.Errorf("took %v %t", names(v), ok)
	}
	if v, ok := chooseVictims(policies["cost_aware"], 16, 0, rs, true, nil); ok {
		t.Errorf("a model that falls asleep or wakes up never goes: %v", names(v))
	}
}

func TestWorkersOfOneModelAreNoRivals(t *testing.T) {
	resident := func(model string) *messages.Allocation {
		return &messages.Allocation{Model: model, Gpu: "gpu/h/g", Phase: messages.ModelView_ready, Groups: []string{"one"}}
	}
	q := question{model: "model/h/chat~2", groups: []string{"one"}, residents: []*messages.Allocation{resident("model/h/chat"), resident("model/h/chat~3"), resident("model/h/other~2")}}
	rivals, stuck := exclusive(q)
	if len(rivals) != 1 || rivals[0].Model != "model/h/other~2" || stuck != "" {
		t.Errorf("rivals %v, stuck %q", rivals, stuck)
	}
}

// Who leaves takes its replicas along: it is as busy as they are. A replica leaves alone.
func TestAModelIsAsBusyAsItsReplicas(t *testing.T) {
	view := func(name, phase string, active uint32) *messages.ModelView {
		return &messages.ModelView{Id: "model/h/" + name, Name: name, Phase: phase, Active: active, IdleMs: 60_000, MeasuredBytes: 8,
			Placement: &messages.Placement{Gpu: "gpu/h/g", Bytes: 8}}
	}
	for name, c := range map[string]struct {
		base    string
		replica uint32
		want    use
	}{
		"its replica works":                {"ready", 1, busy},
		"it sleeps, and its replica works": {"asleep", 1, busy},
		"both are idle":                    {"ready", 0, atRest},
	} {
		rs := ResidentsOf([]*messages.ModelView{view("chat~2", "ready", c.replica), view("chat", c.base, 0), view("chat~3", "ready", 0), view("other", "ready", 0)}, 0)
		if len(rs) != 4 || rs[1].Model != "model/h/chat" || useOf(rs[1], 0) != c.want {
			t.Errorf("%s: %v", name, rs)
		}
		for _, i := range []int{2, 3} {
			if useOf(rs[i], 0) != atRest {
				t.Errorf("%s: so %s is busy too", name, rs[i].Model)
			}
		}
	}
	q := question{model: "model/h/new", groups: []string{"one"}, residents: ResidentsOf([]*messages.ModelView{view("chat", "ready", 0), view("chat~2", "ready", 1)}, 0)}
	q.residents[0].Groups = q.groups
	if rivals, stuck := exclusive(q); len(rivals) > 0 || stuck == "" {
		t.Errorf("a model of the group has to leave though its replica works: %v, %q", rivals, stuck)
	}
}

// Never busy, never pinned, enough, and nobody who wasn't needed.
func TestVictimSetsAreMinimal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 8).Draw(t, "n")
		rs := make([]resident, n)
		var movable uint64
		for i := range rs {
			rs[i] = idleModel(string(rune('a'+i)), rapid.Uint64Range(0, 20).Draw(t, "bytes"), int64(rapid.IntRange(0, 100).Draw(t, "idle")), 9,
				int64(rapid.IntRange(0, 100).Draw(t, "load")))
			rs[i].Active = rapid.Uint32Range(0, 1).Draw(t, "busy")
			rs[i].use = useOf(rs[i].Allocation, rapid.Int64Range(0, 50_000).Draw(t, "collation"))
			rs[i].Pinned, rs[i].Young = rapid.Bool().Draw(t, "pinned"), rapid.Bool().Draw(t, "young")
			if rs[i].use == atRest && !rs[i].Pinned {
				movable += rs[i].bytes
			}
		}
		free, need := rapid.Uint64Range(0, 20).Draw(t, "free"), rapid.Uint64Range(1, 100).Draw(t, "need")
		p := policies[rapid.SampledFrom([]string{"first_fit", "lru", "cost_aware"}).Draw(t, "policy")]
		victims, ok := chooseVictims(p, need, free, rs, false, nil)
		if ok != (free+movable >= need) {
			t.Fatalf("ok %t with free %d, movable %d, need %d", ok, free, movable, need)
		}
		var sum uint64
		for _, v := range victims {
			if v.use != atRest || v.Pinned {
				t.Fatalf("took %v", v)
			}
			sum += v.bytes
		}
		if ok && free+sum < need {
			t.Fatalf("%d + %d doesn't cover %d", free, sum, need)
		}
		for _, v := range victims {
			if free+sum-v.bytes >= need {
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
