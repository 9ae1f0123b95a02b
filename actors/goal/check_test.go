package goal

import (
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

func dim(d *messages.Dimension) func(*messages.GoalSpec) {
	return func(g *messages.GoalSpec) {
		g.Parameters, g.Search = map[string]string{"steps": "9"}, []*messages.Dimension{d}
	}
}

func aim(m string, c messages.GoalSpec_Comparison, v float64) func(*messages.GoalSpec) {
	return func(g *messages.GoalSpec) { g.Metric, g.Comparison, g.Value = m, c, v }
}

var badSpecs = map[string]struct {
	change func(*messages.GoalSpec)
	field  string // empty = it is taken
}{
	"as it is":                   {func(*messages.GoalSpec) {}, ""},
	"a long title":               {func(g *messages.GoalSpec) { g.Title = strings.Repeat("ä", 201) }, "title"},
	"a title":                    {func(g *messages.GoalSpec) { g.Title = strings.Repeat("ä", 200) }, ""},
	"a long description":         {func(g *messages.GoalSpec) { g.Description = strings.Repeat("a", 10_001) }, "description"},
	"a negative weight":          {func(g *messages.GoalSpec) { g.Weight = -1 }, "weight"},
	"a weight that is none":      {func(g *messages.GoalSpec) { g.Weight = math.NaN() }, "weight"},
	"an endless weight":          {func(g *messages.GoalSpec) { g.Weight = math.Inf(1) }, "weight"},
	"another priority":           {func(g *messages.GoalSpec) { g.Priority = "urgent" }, "priority"},
	"a target without a figure":  {aim("", messages.GoalSpec_at_most, 0), "metric"},
	"a value without a figure":   {aim("", 0, 1), "metric"},
	"a figure with a space":      {aim("eval loss", messages.GoalSpec_at_most, 1), "metric"},
	"no comparison":              {aim("loss", 0, 1), "comparison"},
	"another comparison":         {aim("loss", 7, 1), "comparison"},
	"no value":                   {aim("loss", messages.GoalSpec_at_most, math.NaN()), "value"},
	"a target":                   {aim("loss", messages.GoalSpec_at_most, 0), ""},
	"a negative budget of time":  {func(g *messages.GoalSpec) { n := int64(-5); g.BudgetSeconds = uint64(n) }, "budget_seconds"},
	"a negative budget of runs":  {func(g *messages.GoalSpec) { n := int32(-5); g.BudgetRuns = uint32(n) }, "budget_runs"},
	"a deadline in the past":     {func(g *messages.GoalSpec) { g.Deadline = timestamppb.New(entitytest.Epoch.Add(-time.Second)) }, "deadline"},
	"a deadline now":             {func(g *messages.GoalSpec) { g.Deadline = timestamppb.New(entitytest.Epoch) }, "deadline"},
	"a deadline that is none":    {func(g *messages.GoalSpec) { g.Deadline = &timestamppb.Timestamp{Seconds: math.MaxInt64} }, "deadline"},
	"a schedule":                 {func(g *messages.GoalSpec) { g.Schedule = "0 3 * * 1-5 Europe/Berlin" }, ""},
	"a schedule that is none":    {func(g *messages.GoalSpec) { g.Schedule = "at night" }, "schedule"},
	"a schedule of no day":       {func(g *messages.GoalSpec) { g.Schedule = "0 3 31 2 *" }, "schedule"},
	"a window that is none":      {func(g *messages.GoalSpec) { g.Window = "22-6" }, "window"},
	"no recipe":                  {func(g *messages.GoalSpec) { g.Recipe = "" }, "recipe"},
	"an evaluation without data": {func(g *messages.GoalSpec) { g.EvalDataset = "" }, "eval_dataset"},
	"another rollout":            {func(g *messages.GoalSpec) { g.Rollout = "always" }, "rollout"},
	"a rollout of no model":      {func(g *messages.GoalSpec) { g.Model = "" }, "rollout"},
	"a rollout unevaluated":      {func(g *messages.GoalSpec) { g.Evaluation = "" }, "rollout"},
	"more than all requests":     {func(g *messages.GoalSpec) { g.CanaryPct = 101 }, "canary_pct"},
	"a host without a name":      {func(g *messages.GoalSpec) { g.Hosts = []string{"main_pc", ""} }, "hosts"},
	"a parameter without a name": {func(g *messages.GoalSpec) { g.Parameters = map[string]string{"": "1"} }, "parameters"},
	"a label without a name":     {func(g *messages.GoalSpec) { g.Labels = map[string]string{"": "1"} }, "labels"},
	"too much of all":            {func(g *messages.GoalSpec) { g.Dataset = strings.Repeat("a", 70_000) }, "spec"},
	"a search without steps":     {func(g *messages.GoalSpec) { g.Search = []*messages.Dimension{{Name: "rate", Low: 1, High: 2}} }, "parameters.steps"},
	"no steps": {func(g *messages.GoalSpec) {
		dim(&messages.Dimension{Name: "rate", Low: 1, High: 2})(g)
		g.Parameters["steps"] = "0"
	}, "parameters.steps"},
	"negative steps": {func(g *messages.GoalSpec) {
		dim(&messages.Dimension{Name: "rate", Low: 1, High: 2})(g)
		g.Parameters["steps"] = "-9"
	}, "parameters.steps"},
	"a dimension":          {dim(&messages.Dimension{Name: "rate", Low: 1, High: 2}), ""},
	"one without a name":   {dim(&messages.Dimension{Low: 1, High: 2}), "search"},
	"one without anything": {dim(&messages.Dimension{Name: "rate"}), "search.rate"},
	"one of nothing":       {dim(nil), "search"},
	"low is high":          {dim(&messages.Dimension{Name: "rate", Low: 2, High: 2}), "search.rate"},
	"low above high":       {dim(&messages.Dimension{Name: "rate", Low: 3, High: 2}), "search.rate"},
	"no number":            {dim(&messages.Dimension{Name: "rate", Low: math.NaN(), High: 2}), "search.rate"},
	"too far apart":        {dim(&messages.Dimension{Name: "rate", Low: -math.MaxFloat64, High: math.MaxFloat64}), "search.rate"},
	"a ratio from zero":    {dim(&messages.Dimension{Name: "rate", Low: 0, High: 2, Log: true}), "search.rate"},
	"no whole number":      {dim(&messages.Dimension{Name: "rate", Low: 1.2, High: 1.8, Whole: true}), "search.rate"},
	"values and bounds":    {dim(&messages.Dimension{Name: "rate", Values: []string{"a"}, High: 2}), "search.rate"},
	"a value twice":        {dim(&messages.Dimension{Name: "rate", Values: []string{"a", "b", "a"}}), "search.rate"},
	"the steps themselves": {dim(&messages.Dimension{Name: "steps", Low: 1, High: 2}), "search.steps"},
	"a dimension twice": {func(g *messages.GoalSpec) {
		dim(&messages.Dimension{Name: "rate", Low: 1, High: 2})(g)
		g.Search = append(g.Search, g.Search[0])
	}, "search.rate"},
}

// What can't be meant is refused, with the field's name.
func TestBadSpecs(t *testing.T) {
	for name, c := range badSpecs {
		g := &messages.GoalSpec{Recipe: "lora", Model: "tiny", Evaluation: "held_out", EvalDataset: "/d", Rollout: "auto"}
		c.change(g)
		err := check(proto.CloneOf(g), entitytest.Epoch)
		switch e := messages.AsError(err); {
		case c.field == "" && err != nil || c.field != "" && (err == nil || e.Code != messages.InvalidArgument || e.Subject != c.field):
			t.Errorf("%s: %v, want the field %q", name, err, c.field)
		}
	}
	if err := check(nil, entitytest.Epoch); messages.CodeOf(err) != messages.InvalidArgument {
		t.Error(err)
	}
}

// Names that would make a job's name of another goal, or none, are refused.
func TestBadNames(t *testing.T) {
	for _, name := range []string{"a b", "a/b", "x/", strings.Repeat("a", longestName+1), "a\nb"} {
		m := entitytest.Drive(Kind(World{}), messages.ActorID{Kind: messages.KindGoal, ID: "main_pc/" + name})
		if _, err := m.Do(&messages.CreateGoal{Spec: &messages.GoalSpec{Recipe: "lora"}}); messages.CodeOf(err) != messages.InvalidArgument {
			t.Errorf("%q: %v", name, err)
		}
	}
}
