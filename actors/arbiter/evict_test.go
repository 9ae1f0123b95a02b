package arbiter

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"modelops/actors/entity"
	"modelops/messages"
)

func idleModel(holder string, bytes uint64, idleS, heldS, loadS int64) allocated {
	a := settled(holder, "gpu/h/g", bytes)
	a.IdleMs, a.HeldMs, a.LoadMs = idleS*1000, heldS*1000, loadS*1000
	return allocated{bytes: bytes, Allocation: a}
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
		rs := []allocated{idleModel("big_slow", 8, 100, 50, 60), idleModel("small_fast", 4, 50, 300, 1), idleModel("mid", 4, 10, 200, 5)}
		victims, ok := chooseVictims(policies[c.policy], c.need, 0, rs, terms{}, nil)
		if got := names(victims); !ok || !slices.Equal(got, c.want) {
			t.Errorf("%s for %d: %v %t, want %v", c.policy, c.need, got, ok, c.want)
		}
	}
}

func TestVictimsSpareTheYoungWhileOthersWillDo(t *testing.T) {
	rs := []allocated{idleModel("young", 8, 3600, 1, 1), idleModel("old", 8, 1, 3600, 1)}
	rs[0].Young = true
	if v, ok := chooseVictims(policies["lru"], 8, 0, slices.Clone(rs), terms{}, nil); !ok || names(v)[0] != "old" {
		t.Errorf("took %v", names(v))
	}
	if v, ok := chooseVictims(policies["lru"], 16, 0, rs, terms{}, nil); !ok || len(v) != 2 {
		t.Errorf("the young one must go when nothing else will do: %v %t", names(v), ok)
	}
}

func TestBusyModelsGoLastAndOnlyForTheOverdue(t *testing.T) {
	rs := []allocated{idleModel("busy", 8, 0, 3600, 1), idleModel("loading", 8, 0, 0, 1), idleModel("old", 8, 1, 3600, 1)}
	rs[0].Active, rs[1].State = 1, messages.Allocation_starting
	rs[0].use, rs[1].use = busy, busy
	if v, ok := chooseVictims(policies["lru"], 16, 0, slices.Clone(rs), terms{}, nil); ok {
		t.Errorf("took %v", names(v))
	}
	if v, ok := chooseVictims(policies["lru"], 16, 0, slices.Clone(rs), terms{overdue: true}, nil); !ok || !slices.Equal(names(v), []string{"old", "busy"}) {
		t.Errorf("for the overdue: %v %t", names(v), ok)
	}
	if v, ok := chooseVictims(policies["lru"], 24, 0, rs, terms{overdue: true}, nil); ok {
		t.Errorf("a model that loads never goes: %v", names(v))
	}
}

func TestSleepingModelsLeaveLikeIdleOnes(t *testing.T) {
	rs := []allocated{idleModel("asleep", 8, 3600, 3700, 1), idleModel("falling_asleep", 8, 3600, 3700, 1), idleModel("waking", 8, 3600, 3700, 1)}
	for i, phase := range []messages.ModelView_Phase{messages.ModelView_asleep, messages.ModelView_falling_asleep, messages.ModelView_waking} {
		rs[i].State = stateOf(phase)
		rs[i].use = useOf(rs[i].Allocation, 1e9)
	}
	if v, ok := chooseVictims(policies["cost_aware"], 8, 0, slices.Clone(rs), terms{}, nil); !ok || !slices.Equal(names(v), []string{"asleep"}) {
		t.Errorf("took %v %t", names(v), ok)
	}
	if v, ok := chooseVictims(policies["cost_aware"], 16, 0, rs, terms{overdue: true}, nil); ok {
		t.Errorf("a model that falls asleep or wakes up never goes: %v", names(v))
	}
}

func TestWorkersOfOneModelAreNoRivals(t *testing.T) {
	member := func(holder string) *messages.Allocation {
		a := settled(holder, "gpu/h/g", 0)
		a.Groups = []string{"one"}
		return a
	}
	claim := &messages.RequestPlacement{Holder: "model/h/chat~2", Claim: &messages.Claim{Groups: []string{"one"}}}
	seen := &messages.SchedulerReadings{Allocations: []*messages.Allocation{member("model/h/chat"), member("model/h/chat~3"), member("model/h/other~2")}}
	rivals, stuck := exclusive(questionOf(New(messages.ArbiterActor()), claim, seen, 0))
	if len(rivals) != 1 || rivals[0].Holder != "model/h/other~2" || stuck != "" {
		t.Errorf("rivals %v, stuck %q", rivals, stuck)
	}
}

// A model's replicas leave with it, so it is as busy as they are. A replica leaves alone.
func TestAModelIsAsBusyAsItsReplicas(t *testing.T) {
	view := func(name string, phase messages.ModelView_Phase, active uint32) *messages.ModelView {
		return &messages.ModelView{Id: "model/h/" + name, Name: name, Phase: phase, Active: active, IdleMs: 60_000, MeasuredBytes: 8,
			Placement: &messages.Placement{Shares: []*messages.Share{{Gpu: "gpu/h/g", Bytes: 8}}}}
	}
	for name, c := range map[string]struct {
		base    messages.ModelView_Phase
		replica uint32
		want    use
	}{
		"its replica works":                {messages.ModelView_ready, 1, busy},
		"it sleeps, and its replica works": {messages.ModelView_asleep, 1, busy},
		"both are idle":                    {messages.ModelView_ready, 0, atRest},
	} {
		rs := AllocationsOf([]*messages.ModelView{view("chat~2", messages.ModelView_ready, c.replica), view("chat", c.base, 0), view("chat~3", messages.ModelView_ready, 0), view("other", messages.ModelView_ready, 0)}, 0)
		if len(rs) != 4 || rs[1].Holder != "model/h/chat" || useOf(rs[1], 0) != c.want {
			t.Errorf("%s: %v", name, rs)
		}
		for _, i := range []int{2, 3} {
			if useOf(rs[i], 0) != atRest {
				t.Errorf("%s: so %s is busy too", name, rs[i].Holder)
			}
		}
	}
	q := question{holder: "model/h/new", groups: []string{"one"}, allocations: AllocationsOf([]*messages.ModelView{view("chat", messages.ModelView_ready, 0), view("chat~2", messages.ModelView_ready, 1)}, 0)}
	q.allocations[0].Groups = q.groups
	if rivals, stuck := exclusive(q); len(rivals) > 0 || stuck == "" {
		t.Errorf("a model of the group has to leave though its replica works: %v, %q", rivals, stuck)
	}
}

// Victims are never busy or pinned, they suffice, and each of them is needed.
func TestVictimSetsAreMinimal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 8).Draw(t, "n")
		rs := make([]allocated, n)
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
		victims, ok := chooseVictims(p, need, free, rs, terms{}, nil)
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
				t.Fatalf("%s wasn't needed", v.Holder)
			}
		}
	})
}

func names(rs []allocated) []string {
	var out []string
	for _, r := range rs {
		out = append(out, r.Holder)
	}
	return out
}

// A holder whose claim wasn't preemptible keeps its place, even for a claim that is overdue; the others of its device leave.
func TestUnpreemptibleClaimKeepsItsPlace(t *testing.T) {
	ledger := card(10, 0, 0)
	readings := seen([]*messages.GpuView{ledger})
	ask := func(c *messages.RequestPlacement) *messages.PlacementReply {
		v, err := Rules{}.Decide(New(messages.ArbiterActor()), c, entity.Stamp{Now: time.Unix(100, 0), ID: "p", Readings: readings})
		if err != nil {
			t.Fatal(err)
		}
		return v.Answer(1).(*messages.PlacementReply)
	}
	for _, holder := range []string{"model/h/firm", "model/h/yielding"} {
		c := request(holder, 4)
		c.Preemptible = holder == "model/h/yielding"
		view := &messages.ModelView{Id: holder, Phase: messages.ModelView_ready, ReadyMs: 1, IdleMs: 60_000, Placement: ask(c).Placement}
		ledger.ReservedBytes += 4
		readings.Allocations = append(readings.Allocations, AllocationOf(view, 100_000))
	}
	if p := ask(request("model/h/new", 6)).Placement; !slices.Equal(p.GetVictims(), []string{"model/h/yielding"}) {
		t.Errorf("victims for 6 bytes: %v", p.GetVictims())
	}
	waits := &messages.Allocation{Holder: "model/h/big", State: messages.Allocation_seeking, WaitedMs: time.Hour.Milliseconds()}
	readings.Allocations = append(readings.Allocations, waits)
	reply := ask(request(waits.Holder, 10))
	if reply.Placement != nil || !strings.Contains(reply.WaitsFor, "model/h/firm pinned by its claim") {
		t.Errorf("10 bytes, overdue: %v", reply)
	}
}
