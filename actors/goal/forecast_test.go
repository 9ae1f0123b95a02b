package goal

import (
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/messages"
)

// seen is a goal after runs with these figures, a minute of device time and two of waiting each.
func seen(spec *messages.GoalSpec, figures ...float64) *messages.GoalView {
	v := &messages.GoalView{Spec: spec, Phase: Active, RunCount: uint32(len(figures)), DeviceMs: int64(len(figures)) * 60_000}
	for i, f := range figures {
		v.Runs = append(v.Runs, &messages.GoalRun{Run: uint32(i + 1), Stage: Ended, Result: messages.GoalRun_lost, Metrics: map[string]float64{"loss": f}, DeviceMs: 60_000, BeganMs: int64(i) * 120_000, EndedMs: int64(i+1) * 120_000})
	}
	return v
}

func TestForecast(t *testing.T) {
	at := time.UnixMilli(1_000_000_000)
	most := func(v float64) *messages.GoalSpec {
		return &messages.GoalSpec{Metric: "loss", Comparison: messages.GoalSpec_at_most, Value: v}
	}
	power := []float64{4, 4 / math.Sqrt(2), 4 / math.Sqrt(3), 2, 4 / math.Sqrt(5)} // 4 / sqrt(run): 1 is reached by run 16
	for name, c := range map[string]struct {
		view              *messages.GoalView
		runs, least, most uint32
		text              string
	}{
		"a law of powers":       {seen(most(1), power...), 11, 11, 11, "some 11 runs more"},
		"too few":               {seen(most(1), 4, 3, 2), 0, 0, 0, "runs with a figure so far: 3; a trend needs 4"},
		"it gets worse":         {seen(most(1), 2, 3, 4, 5), 0, 0, 0, "doesn't lead to the target"},
		"it stays":              {seen(most(1), 2, 2, 2, 2), 0, 0, 0, "doesn't lead to the target"},
		"more is better":        {seen(&messages.GoalSpec{Metric: "loss", Comparison: messages.GoalSpec_at_least, Value: math.Log(10)}, 0, math.Log(2), math.Log(3), math.Log(4)), 6, 6, 6, "some 6 runs more"},
		"below zero":            {seen(most(-math.Log(10)), 0, -math.Log(2), -math.Log(3), -math.Log(4)), 6, 6, 6, "some 6 runs more"},
		"too weak for a bound":  {seen(most(1), 4, 2, 4, 2, 2.5), 110, 6, 0, "too weak for an upper bound"},
		"no target":             {seen(&messages.GoalSpec{}, 4, 3, 2, 1), 0, 0, 0, "it has no target"},
		"farther than is known": {seen(most(0.0001), 4, 3.99, 3.98, 3.97), 0, 0, 0, "doesn't lead"},
	} {
		f := Forecast(c.view, at)
		if f.Least != c.least || f.Most != c.most || !strings.Contains(f.Text, c.text) || c.runs > 0 && f.Runs != c.runs && c.most > 0 || (f.Runs > 0) != (c.runs > 0) {
			t.Errorf("%s: %v", name, f)
		}
		if f.RunDeviceMs != 60_000 || f.RunDeviceSdMs != 0 || f.RunWallMs != 120_000 || f.Runs > 0 && f.MetMs != at.UnixMilli()+int64(f.Runs)*120_000 {
			t.Errorf("%s costs %v", name, f)
		}
	}
	if f := Forecast(&messages.GoalView{Spec: most(1), Phase: Completed}, at); f.Text != "it has ended" {
		t.Error(f)
	}
}

func TestForecastOfBounds(t *testing.T) {
	at := time.UnixMilli(1_000_000_000)
	for name, c := range map[string]struct {
		spec *messages.GoalSpec
		by   string
		in   time.Duration
		left uint32
	}{
		"runs":                    {&messages.GoalSpec{BudgetRuns: 10}, "budget_runs", 12 * time.Minute, 6},
		"device time":             {&messages.GoalSpec{BudgetSeconds: 330}, "budget_seconds", 3 * time.Minute, 2},
		"the first of them":       {&messages.GoalSpec{BudgetRuns: 10, BudgetSeconds: 330}, "budget_seconds", 3 * time.Minute, 2},
		"a deadline before them":  {&messages.GoalSpec{BudgetRuns: 10, Deadline: timestamppb.New(at.Add(time.Minute))}, "deadline", time.Minute, 6},
		"spent":                   {&messages.GoalSpec{BudgetSeconds: 10}, "budget_seconds", 0, 0},
		"more runs than it makes": {&messages.GoalSpec{BudgetRuns: 2}, "budget_runs", 0, 0},
	} {
		f := Forecast(seen(c.spec, 4, 3, 2, 1), at)
		if f.SpentBy != c.by || f.SpentMs != at.Add(c.in).UnixMilli() || f.RunsLeft != c.left || !strings.Contains(f.Text, c.by) {
			t.Errorf("%s: %v, want %s in %s", name, f, c.by, c.in)
		}
	}
	if f := Forecast(seen(&messages.GoalSpec{}, 1), at); f.SpentMs != 0 || strings.Contains(f.Text, "at the latest") {
		t.Error(f)
	}
}

// Of losses that fall with noise, some four in five forecasts' bounds hold the run that the law itself gives.
func TestForecastHolds(t *testing.T) {
	held, said := 0, 0
	for seed := range uint64(500) {
		var figures []float64
		for run := range 12 {
			var noise float64
			for i := range uint64(12) { // a sum of twelve is nearly normal, with deviation 1
				noise += uniform(seed, uint64(run), i) - 0.5
			}
			figures = append(figures, 4/math.Sqrt(float64(run+1))*math.Exp(0.05*noise))
		}
		f := Forecast(seen(&messages.GoalSpec{Metric: "loss", Comparison: messages.GoalSpec_at_most, Value: 0.8}, figures...), time.UnixMilli(0)) // by run 25: 13 more
		if f.Runs == 0 {
			continue
		}
		said++
		if f.Least <= 13 && (f.Most == 0 || 13 <= f.Most) {
			held++
		}
	}
	if share := float64(held) / float64(said); said < 490 || share < 0.65 || share > 0.92 {
		t.Errorf("%d of %d hold", held, said)
	}
}
