package goal

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"modelops/actors/entity"
	"modelops/messages"
)

func shown(name, what string, more ...func(*messages.GoalView)) *messages.GoalView {
	v := &messages.GoalView{Id: "goal/pc/" + name, Spec: &messages.GoalSpec{}, Phase: messages.GoalView_Phase(messages.GoalView_Phase_value[what]), CreatedMs: 1000}
	for _, m := range more {
		m(v)
	}
	return v
}

func TestWhoseTurnItIs(t *testing.T) {
	class := func(p string) func(*messages.GoalView) { return func(v *messages.GoalView) { v.Spec.Priority = p } }
	age := func(ms int64) func(*messages.GoalView) { return func(v *messages.GoalView) { v.CreatedMs = ms } }
	weight := func(w float64) func(*messages.GoalView) { return func(v *messages.GoalView) { v.Spec.Weight = w } }
	ran := func(ms int64) func(*messages.GoalView) {
		return func(v *messages.GoalView) { v.Runs = []*messages.GoalRun{{BeganMs: ms}} }
	}
	due := func(ms int64) func(*messages.GoalView) { return func(v *messages.GoalView) { v.DueMs = ms } }
	working := func(v *messages.GoalView) { v.Working = true }
	yielding := func(v *messages.GoalView) { v.YieldsTo = "goal/pc/x" }
	deleted := func(v *messages.GoalView) { v.Deleted = true }
	for name, c := range map[string]struct {
		policy string
		most   uint32
		goals  []*messages.GoalView
		want   string // starts, then yields
	}{
		"by priority, then age":             {PriorityQueue, 3, []*messages.GoalView{shown("a", "pending", age(3000)), shown("b", "pending", class("low")), shown("c", "pending"), shown("d", "pending", class("critical"), age(9000))}, "d c a"},
		"one by default":                    {"", 0, []*messages.GoalView{shown("a", "pending"), shown("b", "pending")}, "a; a yields b later"},
		"no room":                           {PriorityQueue, 1, []*messages.GoalView{shown("a", "active"), shown("b", "pending", age(2000))}, ""},
		"a higher one comes":                {PriorityQueue, 1, []*messages.GoalView{shown("a", "active"), shown("b", "pending", class("high"), age(2000))}, "; a to b"},
		"the last of those active yields":   {PriorityQueue, 2, []*messages.GoalView{shown("a", "active", class("low")), shown("c", "active"), shown("b", "pending", class("high"))}, "; a to b"},
		"an older one was paused":           {PriorityQueue, 1, []*messages.GoalView{shown("a", "active", age(5000)), shown("b", "pending")}, "; a to b"},
		"it yields already":                 {PriorityQueue, 1, []*messages.GoalView{shown("a", "active", yielding), shown("b", "pending", class("high"))}, ""},
		"a paused one whose job runs":       {PriorityQueue, 1, []*messages.GoalView{shown("a", "paused", working), shown("b", "pending")}, ""},
		"one that has ended and is stopped": {PriorityQueue, 1, []*messages.GoalView{shown("a", "cancelled", working), shown("b", "pending")}, ""},
		"those that have ended":             {PriorityQueue, 1, []*messages.GoalView{shown("a", "cancelled"), shown("b", "pending")}, "b"},
		"a schedule that isn't due":         {PriorityQueue, 1, []*messages.GoalView{shown("a", "pending", due(11_000)), shown("b", "pending", age(2000))}, "b"},
		"a schedule that is due":            {PriorityQueue, 1, []*messages.GoalView{shown("a", "pending", due(9000))}, "a"},
		"a deleted one":                     {PriorityQueue, 1, []*messages.GoalView{shown("a", "pending", deleted)}, ""},
		"round robin: all but one wait":     {RoundRobin, 1, []*messages.GoalView{shown("a", "active"), shown("b", "pending", class("low"))}, "; a to b"},
		"nobody waits":                      {RoundRobin, 1, []*messages.GoalView{shown("a", "active")}, ""},
		"the longest wait":                  {RoundRobin, 1, []*messages.GoalView{shown("a", "pending", ran(8000)), shown("b", "pending", ran(7000))}, "b"},
		"times its weight":                  {RoundRobin, 1, []*messages.GoalView{shown("a", "pending", ran(8000), weight(2)), shown("b", "pending", ran(7000))}, "a"},
	} {
		got := Turns{c.policy, c.most}.Choose(c.goals, time.UnixMilli(10_000))
		var said []string
		for _, id := range got.Start {
			said = append(said, strings.TrimPrefix(id, "goal/pc/"))
		}
		text := strings.Join(said, " ")
		for from, to := range got.Yield {
			text += "; " + strings.TrimPrefix(from, "goal/pc/") + " to " + strings.TrimPrefix(to, "goal/pc/")
		}
		if want := strings.TrimSuffix(c.want, "; a yields b later"); text != want {
			t.Errorf("%s: %q, want %q", name, text, want)
		}
	}
	if c := (Turns{}).Choose([]*messages.GoalView{shown("a", "pending", due(12_000)), shown("b", "pending", due(11_000))}, time.UnixMilli(10_000)); c.Again.UnixMilli() != 11_000 {
		t.Errorf("the next look is at %s", c.Again)
	}
}

// house is some goals on a host with their dispatcher: a door to real goals, whose work takes time.
type house struct {
	t     *rapid.T
	now   time.Time
	goals []*played
	ends  []time.Time // when the work of each goal is done
	turns []int       // runs begun by each
}

func (h *house) Ask(_ context.Context, to messages.ActorID, command proto.Message) (messages.Reply, error) {
	for i, g := range h.goals {
		if g.s.ID == to {
			h.do(i, command)
		}
	}
	return messages.Reply{}, nil
}

func (h *house) Tell(context.Context, messages.ActorID, proto.Message) {}

func (h *house) do(i int, command proto.Message) {
	g := h.goals[i]
	v, err := Decide(g.s, command, entity.Stamp{Now: h.now})
	if err != nil {
		h.t.Fatalf("%T: %v", command, err)
	}
	for _, e := range v.Events {
		g.s = Evolve(g.s, e, 0)
		if _, began := e.(*messages.RunPlanned); began {
			h.turns[i]++
		}
	}
}

func (h *house) views() (out []*messages.GoalView) {
	for _, g := range h.goals {
		out = append(out, View(g.s).(*messages.GoalView))
	}
	return out
}

// works does the work of each goal: what has no job at once, and a job in its time.
func (h *house) works(lasts func(i int) time.Duration) {
	for i, g := range h.goals {
		for _, e := range Owed(g.s) {
			switch e := e.(type) {
			case plan:
				h.do(i, &messages.PlanRun{Run: e.Run})
			case makeJob:
				h.ends[i] = h.now.Add(lasts(i))
				h.do(i, &messages.ReportRunJob{Run: e.Run, Stage: e.Stage})
			case await:
				if !h.now.Before(h.ends[i]) {
					h.do(i, &messages.ReportStageEnded{Run: e.Run, Stage: e.Stage, JobPhase: messages.JobView_completed, Outcome: &messages.JobOutcome{Metrics: map[string]float64{"loss": 2}}})
				}
			}
		}
	}
}

func newHouse(t *rapid.T, specs []*messages.GoalSpec) *house {
	h := &house{t: t, now: time.UnixMilli(1_000_000), ends: make([]time.Time, len(specs)), turns: make([]int, len(specs))}
	for i, spec := range specs {
		h.goals = append(h.goals, &played{s: New(messages.ActorID{Kind: messages.KindGoal, ID: fmt.Sprint("pc/g", i)})})
		h.do(i, &messages.CreateGoal{Spec: spec})
	}
	return h
}

func (h *house) dispatch(turns Turns) {
	d := Dispatcher{Turns: func() Turns { return turns }, Goals: h.views, Door: h, Now: func() time.Time { return h.now }}
	if _, told := d.Dispatch(context.Background()); !told {
		h.t.Fatal("a goal couldn't be told")
	}
}

func endless(weight float64, priority string) *messages.GoalSpec {
	return &messages.GoalSpec{Recipe: "lora", Metric: "loss", Comparison: messages.GoalSpec_at_most, Value: 1, Weight: weight, Priority: priority}
}

// Never are more goals active than may be, and under round_robin each one gets its turns, whatever weights, priorities and times its runs have.
func TestNobodyStarves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "goals")
		turns := Turns{RoundRobin, rapid.Uint32Range(1, 3).Draw(t, "active")}
		var specs []*messages.GoalSpec
		var lasts []time.Duration
		least, most := math.Inf(1), 0.0
		for range n {
			w := rapid.SampledFrom([]float64{0, 0.5, 1, 2}).Draw(t, "weight")
			specs = append(specs, endless(w, rapid.SampledFrom(append(slices.Clone(messages.GoalPriorities), "")).Draw(t, "priority")))
			lasts = append(lasts, time.Duration(rapid.IntRange(1, 5).Draw(t, "minutes"))*time.Minute)
			if w == 0 {
				w = 1
			}
			least, most = min(least, w), max(most, w)
		}
		h := newHouse(t, specs)
		waits := make([]time.Time, n)
		for i := range waits {
			waits[i] = h.now
		}
		before := slices.Clone(h.turns)
		bound := time.Duration(float64(n*8)*most/least) * time.Minute
		for range 150 {
			h.now = h.now.Add(time.Minute)
			h.dispatch(turns)
			active := 0
			for _, g := range h.goals {
				if g.s.Phase == Active || g.s.working() {
					active++
				}
			}
			if active != min(n, int(turns.MaxActive)) {
				t.Fatalf("%d of %d are active, and %d may be", active, n, turns.MaxActive)
			}
			h.works(func(i int) time.Duration { return lasts[i] })
			for i := range h.goals {
				if h.turns[i] > before[i] {
					waits[i] = h.now
				}
				if h.now.Sub(waits[i]) > bound {
					t.Fatalf("goal %d of weight %v has waited for %s: %v", i, specs[i].Weight, h.now.Sub(waits[i]), h.turns)
				}
			}
			before = slices.Clone(h.turns)
		}
	})
}

// In the long run, shares are as weights.
func TestSharesAreAsWeights(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := []float64{1, float64(rapid.IntRange(1, 4).Draw(t, "second")), float64(rapid.IntRange(1, 4).Draw(t, "third"))}
		var specs []*messages.GoalSpec
		for _, w := range weights {
			specs = append(specs, endless(w, ""))
		}
		h := newHouse(t, specs)
		for range 500 {
			h.now = h.now.Add(30 * time.Second)
			h.dispatch(Turns{RoundRobin, 1})
			h.works(func(int) time.Duration { return time.Minute })
		}
		for i := range weights {
			want := float64(h.turns[0]+h.turns[1]+h.turns[2]) * weights[i] / (weights[0] + weights[1] + weights[2])
			if got := float64(h.turns[i]); got < 0.6*want || got > 1.5*want {
				t.Fatalf("weights %v had %v turns", weights, h.turns)
			}
		}
	})
}

// Under priority_queue a goal of higher priority gets the turn after the present run, and the other one goes on when it has ended.
func TestTheHigherPriorityGoesFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		low, high := endless(0, "low"), endless(0, "critical")
		high.BudgetRuns = 3
		h := newHouse(t, []*messages.GoalSpec{low})
		step := func() {
			h.now = h.now.Add(time.Minute)
			h.dispatch(Turns{PriorityQueue, 1})
			h.works(func(int) time.Duration { return 3 * time.Minute })
		}
		for range rapid.IntRange(1, 20).Draw(t, "before") {
			step()
		}
		h.goals = append(h.goals, &played{s: New(messages.ActorID{Kind: messages.KindGoal, ID: "pc/high"})})
		h.ends, h.turns = append(h.ends, time.Time{}), append(h.turns, 0)
		h.do(1, &messages.CreateGoal{Spec: high})
		had := h.turns[0]
		for range 40 {
			if step(); h.goals[1].s.Over() {
				break
			}
			if h.turns[0] > had+1 {
				t.Fatalf("the lower one had %d more turns while the higher one waited", h.turns[0]-had)
			}
		}
		for range 10 {
			step()
		}
		if !h.goals[1].s.Over() || h.goals[1].s.Count != 3 || h.turns[0] <= had {
			t.Fatalf("%s after %d runs; the other one had %d and %d turns", h.goals[1].s.Phase, h.goals[1].s.Count, had, h.turns[0])
		}
	})
}

// counting is a door that answers, or doesn't, with what a dispatcher sees.
type counting struct {
	mu      sync.Mutex
	told    []string
	err     error
	goals   []*messages.GoalView
	changed chan struct{}
}

func (c *counting) Ask(_ context.Context, to messages.ActorID, command proto.Message) (messages.Reply, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = append(c.told, fmt.Sprintf("%s %T", to, command))
	return messages.Reply{}, c.err
}
func (c *counting) Tell(context.Context, messages.ActorID, proto.Message) {}

func (c *counting) dispatcher() Dispatcher {
	return Dispatcher{Door: c, Now: time.Now, Turns: func() Turns { return Turns{} },
		Goals:   func() []*messages.GoalView { c.mu.Lock(); defer c.mu.Unlock(); return c.goals },
		Changed: func() <-chan struct{} { c.mu.Lock(); defer c.mu.Unlock(); return c.changed }}
}

// after is what was told by then.
func (c *counting) after(d time.Duration) []string {
	time.Sleep(d)
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.told
	c.told = nil
	return out
}

func (c *counting) becomes(err error, goals ...*messages.GoalView) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err, c.goals = err, goals
	close(c.changed)
	c.changed = make(chan struct{})
}

// It looks again when a view changes, when a schedule is due, and soon after a goal couldn't be told.
func TestTheDispatcherWakesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		door := &counting{changed: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { door.dispatcher().Run(ctx); close(done) }()
		due := time.Now().Add(10 * time.Second).UnixMilli()
		door.becomes(messages.NewError(messages.Unavailable, "", "not now"), shown("a", "pending", func(v *messages.GoalView) { v.DueMs = due }))
		for _, c := range []struct {
			what  string
			after time.Duration
			told  int
		}{{"before it is due", 9 * time.Second, 0}, {"when it is due", time.Second + time.Millisecond, 1}, {"again, because it wasn't heard", retellAfter, 1}} {
			if told := door.after(c.after); len(told) != c.told {
				t.Errorf("%s: %v", c.what, told)
			}
		}
		door.becomes(nil, shown("a", "active"), shown("b", "pending", func(v *messages.GoalView) { v.Spec.Priority = "high" }))
		if told := door.after(0); len(told) != 1 || told[0] != "goal/pc/a *messages.YieldGoal" {
			t.Errorf("after a change: %v", told)
		}
		cancel()
		<-done
	})
}
