package goal

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"modelops/actors/entity"
	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

func anySpace(t *rapid.T) *messages.GoalSpec {
	g := &messages.GoalSpec{Recipe: "lora", Seed: rapid.Uint64().Draw(t, "seed"), Parameters: map[string]string{"steps": fmt.Sprint(rapid.IntRange(1, 500).Draw(t, "steps")), "batch": "4"}}
	for i := range rapid.IntRange(1, 4).Draw(t, "dimensions") {
		d := &messages.Dimension{Name: fmt.Sprint("d", i)}
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			d.Values = []string{"a", "b", "c", "d"}[:rapid.IntRange(1, 4).Draw(t, "values")]
		case 1:
			d.Low = rapid.Float64Range(-10, 10).Draw(t, "low") + 0 // and no -0
			d.High = d.Low + rapid.Float64Range(1e-6, 100).Draw(t, "width")
		case 2:
			d.Low = rapid.Float64Range(1e-6, 1).Draw(t, "low")
			d.High, d.Log = d.Low*rapid.Float64Range(1.01, 1e6).Draw(t, "ratio"), true
		case 3:
			d.Low = float64(rapid.IntRange(1, 9).Draw(t, "low"))
			d.High, d.Whole, d.Log = d.Low+float64(rapid.IntRange(1, 9).Draw(t, "width")), true, rapid.Bool().Draw(t, "log")
		}
		g.Search = append(g.Search, d)
	}
	return g
}

// Each parameter is one of its values or within its bounds, and trials differ while the space has others.
func TestTrialsAreOfTheSpace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := anySpace(t)
		if err := check(g, fresh().Now); err != nil {
			t.Fatal(err)
		}
		n := size(g, rapid.Uint32Range(0, 60).Draw(t, "left"))
		var all []map[string]string
		for i := range n {
			p := drawn(g, 3, i)
			if !maps.Equal(p, drawn(g, 3, i)) {
				t.Fatalf("trial %d is drawn twice as two", i)
			}
			for _, d := range g.Search {
				v, err := strconv.ParseFloat(p[d.Name], 64)
				switch {
				case len(d.Values) > 0:
					if !slices.Contains(d.Values, p[d.Name]) {
						t.Fatalf("%v is no value of %v", p, d)
					}
				case err != nil || v < d.Low || v > d.High || d.Whole && v != math.Trunc(v):
					t.Fatalf("%v isn't in %v", p, d)
				}
			}
			if slices.ContainsFunc(all, func(q map[string]string) bool { return maps.Equal(p, q) }) && combinations(g) > 2*n {
				t.Fatalf("trial %d of %d is another one's: %v", i, n, p)
			}
			all = append(all, p)
		}
	})
}

// A bracket has as many runs as are left at most, whatever its space.
func TestABracketFitsItsBudget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, left := anySpace(t), rapid.Uint32Range(1, 100).Draw(t, "left")
		n := size(g, left)
		if n < 1 || n > mostTrials || total(g, n) > left && n > 1 || total(g, n) > keepRuns {
			t.Fatalf("%d trials are %d runs of %d", n, total(g, n), left)
		}
		if more := n + 1; more <= min(combinations(g), mostTrials) && total(g, more) <= left {
			t.Fatalf("%d trials, and %d would fit into %d too", n, more, left)
		}
	})
	for trials, want := range map[uint32]uint32{1: 1, 2: 2, 3: 4, 9: 13, 10: 14, 27: 40} {
		if got := total(&messages.GoalSpec{Parameters: map[string]string{"steps": "1000"}}, trials); got != want {
			t.Errorf("%d trials are %d runs, want %d", trials, got, want)
		}
	}
	few := &messages.GoalSpec{Parameters: map[string]string{"steps": "2"}}
	if lastRung(few, 27) != 0 || total(few, 27) != 27 {
		t.Error("two steps can't be divided by three")
	}
}

// played is a goal without the checks of a bench, which would take long for a whole search.
type played struct {
	s      State
	events []proto.Message
}

func (p *played) do(t *rapid.T, command proto.Message) {
	v, err := Decide(p.s, command, entity.Stamp{Now: entitytest.Epoch})
	if err != nil {
		t.Fatalf("%T: %v", command, err)
	}
	for _, e := range v.Events {
		p.s = Evolve(p.s, e, 0)
	}
	p.events = append(p.events, v.Events...)
}

// searched plays a whole search: what a trial comes to is a function of its settings, and gets better with steps.
func searched(t *rapid.T, g *messages.GoalSpec, breaks uint64) *played {
	p := &played{s: New(answers)}
	p.do(t, &messages.CreateGoal{Spec: g})
	p.do(t, &messages.StartGoal{})
	for !p.s.Over() {
		p.do(t, &messages.PlanRun{Run: p.s.Count + 1})
		run := p.s.Run.Number
		p.do(t, &messages.ReportRunJob{Run: run, Stage: Training})
		end := &messages.ReportStageEnded{Run: run, Stage: Training, JobPhase: messages.JobView_completed, DeviceMs: 10, Outcome: &messages.JobOutcome{Metrics: map[string]float64{"loss": quality(p.s.Run.Parameters)}}}
		if breaks > 0 && uint64(run)%breaks == 0 {
			end.JobPhase = messages.JobView_failed
		}
		p.do(t, end)
	}
	return p
}

func quality(p map[string]string) float64 {
	all, _ := strconv.ParseFloat(p["steps"], 64)
	q := 0.0
	for _, name := range slices.Sorted(maps.Keys(p)) {
		if name != "steps" {
			for _, b := range []byte(p[name]) {
				q = math.Mod(q*31+float64(b), 1009)
			}
		}
	}
	return q + 1/all
}

// The same seed, specification and results give the same trials. The best one of each rung goes on, and no budget is overrun.
func TestASearchIsReproducible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := anySpace(t)
		g.BudgetRuns = rapid.Uint32Range(0, 20).Draw(t, "runs")
		breaks := rapid.SampledFrom([]uint64{0, 0, 3, 4}).Draw(t, "breaks")
		a, b := searched(t, g, breaks), searched(t, g, breaks)
		history(t, a.s, a.events)
		if !slices.EqualFunc(a.events, b.events, proto.Equal) {
			t.Fatalf("%v, and then %v", a.events, b.events)
		}
		if breaks > 0 {
			return
		}
		m := a.s
		if want := total(g, size(g, g.BudgetRuns)); m.Phase != Completed || m.Count != want {
			t.Fatalf("%s after %d runs, a bracket has %d", m.Phase, m.Count, want)
		}
		best, all := math.Inf(1), m.Runs
		for _, r := range all {
			if r.Rung == 0 {
				best = min(best, r.Metrics["loss"])
			}
		}
		for _, r := range all {
			if r.Rung == 0 && r.Metrics["loss"] == best && r.Result == messages.GoalRun_halved && !slices.ContainsFunc(all, func(o Run) bool { return o.Rung == 0 && o.Trial < r.Trial && o.Metrics["loss"] == best }) {
				t.Fatalf("the best trial was halved: %+v", all)
			}
			if steps := r.Parameters["steps"]; r.Last != (steps == g.Parameters["steps"]) && lastRung(g, m.Search.Trials) > 0 {
				t.Fatalf("a run of rung %d has %s steps of %s", r.Rung, steps, g.Parameters["steps"])
			}
			if r.Parameters["batch"] != "4" {
				t.Fatalf("its other parameters are lost: %v", r.Parameters)
			}
		}
	})
}

// A change of the space begins another search, and a change of something else goes on with it.
func TestAChangeOfTheSpaceBeginsAgain(t *testing.T) {
	spec := func(high float64, title string) *messages.GoalSpec {
		return &messages.GoalSpec{Title: title, Recipe: "lora", Parameters: map[string]string{"steps": "30"}, Search: []*messages.Dimension{{Name: "rate", Low: 0.1, High: high}}}
	}
	m := fresh()
	_, _ = m.Do(&messages.CreateGoal{Spec: spec(1, "")})
	_, _ = m.Do(&messages.StartGoal{})
	run := func() *Run {
		_, _ = m.Do(&messages.PlanRun{Run: m.State.Count + 1})
		r := m.State.Run
		_, _ = m.Do(&messages.ReportRunJob{Run: r.Number, Stage: Training})
		_, _ = m.Do(&messages.ReportStageEnded{Run: r.Number, Stage: Training, JobPhase: messages.JobView_completed, Outcome: &messages.JobOutcome{Metrics: map[string]float64{"loss": 1}}})
		return r
	}
	run()
	_, _ = m.Do(&messages.ChangeGoal{Spec: spec(1, "a title")})
	if r := run(); r.Bracket != 1 || r.Trial != 1 {
		t.Errorf("another title: %+v", r)
	}
	_, _ = m.Do(&messages.ChangeGoal{Spec: spec(2, "a title")})
	if r := run(); r.Bracket != 2 || r.Trial != 0 || m.State.Over() {
		t.Errorf("another space: %+v in %s", r, m.State.Phase)
	}
}
