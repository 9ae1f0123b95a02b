package goal

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// The bounds of what a specification may say. It is journaled with each change.
const (
	longestTitle       = 200
	longestDescription = 10_000
	longestName        = 128
	longestValue       = 1000
	mostSpecBytes      = 64 << 10
	mostWeight         = 1000
	mostRuns           = 100_000
	mostSeconds        = 100 * 365 * 24 * 3600 // a negative number that became a large one is beyond it
	mostParameters     = 100
	mostDimensions     = 16
	mostValues         = 100
	mostSteps          = 1_000_000_000
)

var rollouts = []string{"never", "by_hand", "auto"}

// check refuses a specification that can't be meant, and names the field. Names of recipes, models and files are the configuration's: a job that is made
// of them checks them.
func check(g *messages.GoalSpec, now time.Time) error {
	if g == nil {
		return wrong("spec", "it is missing", "say what is to be reached")
	}
	if n := proto.Size(g); n > mostSpecBytes {
		return wrong("spec", fmt.Sprintf("it has %d bytes, and may have %d", n, mostSpecBytes), "")
	}
	for _, rule := range []func(*messages.GoalSpec, time.Time) error{checkWords, checkTarget, checkBudget, checkWork, checkSearch} {
		if err := rule(g, now); err != nil {
			return err
		}
	}
	return nil
}

func wrong(field, why, hint string) error {
	return messages.NewError(messages.InvalidArgument, field, why).WithHint(hint)
}

func checkWords(g *messages.GoalSpec, _ time.Time) error {
	switch {
	case utf8.RuneCountInString(g.Title) > longestTitle:
		return wrong("title", fmt.Sprintf("it has %d characters, and may have %d", utf8.RuneCountInString(g.Title), longestTitle), "the description may be longer")
	case utf8.RuneCountInString(g.Description) > longestDescription:
		return wrong("description", fmt.Sprintf("it has %d characters, and may have %d", utf8.RuneCountInString(g.Description), longestDescription), "")
	case !(g.Weight >= 0 && g.Weight <= mostWeight):
		return wrong("weight", fmt.Sprintf("%v is no weight", g.Weight), fmt.Sprintf("a weight is above 0 and at most %d; 0 stands for 1", mostWeight))
	case g.Priority != "" && !slices.Contains(messages.GoalPriorities, g.Priority):
		return wrong("priority", fmt.Sprintf("%q is no priority", g.Priority), "the priorities are "+strings.Join(messages.GoalPriorities, ", "))
	}
	for name, value := range g.Labels {
		if name == "" || len(name) > longestName || len(value) > longestValue || len(g.Labels) > mostParameters {
			return wrong("labels", fmt.Sprintf("%q has no name, or is too long, or there are too many", name), fmt.Sprintf("%d labels with names of %d and values of %d bytes are taken", mostParameters, longestName, longestValue))
		}
	}
	return nil
}

func checkTarget(g *messages.GoalSpec, _ time.Time) error {
	known := g.Comparison == messages.GoalSpec_at_least || g.Comparison == messages.GoalSpec_at_most
	switch {
	case g.Metric == "" && (g.Comparison != 0 || g.Value != 0):
		return wrong("metric", "a target needs the name of its figure", "name one that the evaluation or the trainer reports: eval_loss, exact, loss")
	case g.Metric == "":
	case len(g.Metric) > longestName || strings.ContainsFunc(g.Metric, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return wrong("metric", fmt.Sprintf("%q is no name of a figure", clipped(g.Metric)), "")
	case !known:
		return wrong("comparison", fmt.Sprintf("%q isn't known", g.Comparison), "write at_least or at_most")
	case math.IsNaN(g.Value) || math.IsInf(g.Value, 0):
		return wrong("value", fmt.Sprintf("%v is no target", g.Value), "")
	}
	return nil
}

func checkBudget(g *messages.GoalSpec, now time.Time) error {
	switch {
	case g.BudgetSeconds > mostSeconds:
		return wrong("budget_seconds", fmt.Sprintf("%d s is no budget", int64(g.BudgetSeconds)), "a budget is above 0 and below 100 years of device time; 0 is no bound")
	case g.BudgetRuns > mostRuns:
		return wrong("budget_runs", fmt.Sprintf("%d runs is no budget", int32(g.BudgetRuns)), fmt.Sprintf("a budget is above 0 and at most %d; 0 is no bound", mostRuns))
	case g.Deadline != nil && !g.Deadline.IsValid():
		return wrong("deadline", "it is no time", "write it like 2026-12-24T18:00:00Z")
	case g.Deadline != nil && !g.Deadline.AsTime().After(now):
		return wrong("deadline", fmt.Sprintf("%s has passed; it is %s", g.Deadline.AsTime().Format(time.RFC3339), now.UTC().Format(time.RFC3339)), "")
	}
	if g.Schedule != "" {
		if _, err := messages.ParseSchedule(g.Schedule); err != nil {
			return err
		}
	}
	if g.Window != "" {
		if _, err := messages.ParseWindow(g.Window); err != nil {
			return err
		}
	}
	return nil
}

func checkWork(g *messages.GoalSpec, _ time.Time) error {
	switch {
	case g.Recipe == "":
		return wrong("recipe", "it is empty", "name one of the configuration's recipes")
	case g.Evaluation != "" && g.EvalDataset == "":
		return wrong("eval_dataset", "an evaluation needs data that the training doesn't see", "name a file")
	case g.Rollout != "" && !slices.Contains(rollouts, g.Rollout):
		return wrong("rollout", fmt.Sprintf("%q isn't known", g.Rollout), "write "+strings.Join(rollouts, ", "))
	case g.Rollout == "auto" && (g.Evaluation == "" || g.Model == ""):
		return wrong("rollout", "only a version of a model that was evaluated serves by itself", "name model, evaluation and eval_dataset, or roll it out by hand")
	case g.CanaryPct > 100:
		return wrong("canary_pct", fmt.Sprintf("%d %% of the requests can't be sent there", g.CanaryPct), "")
	case slices.Contains(g.Hosts, ""):
		return wrong("hosts", "one of them has no name", "")
	case len(g.Parameters) > mostParameters:
		return wrong("parameters", fmt.Sprintf("there are %d, and may be %d", len(g.Parameters), mostParameters), "")
	}
	for name, value := range g.Parameters {
		if name == "" || len(name) > longestName || len(value) > longestValue {
			return wrong("parameters", fmt.Sprintf("%q has no name or is too long", clipped(name)), "")
		}
	}
	return nil
}

func checkSearch(g *messages.GoalSpec, _ time.Time) error {
	if len(g.Search) == 0 {
		return nil
	}
	if len(g.Search) > mostDimensions {
		return wrong("search", fmt.Sprintf("it has %d dimensions, and may have %d", len(g.Search), mostDimensions), "")
	}
	if n := steps(g); n == 0 || n > mostSteps {
		return wrong("parameters."+stepsName, fmt.Sprintf("%q is no number of steps, which auto-tuning divides among its trials", g.Parameters[stepsName]), "say how many steps a whole run has")
	}
	seen := map[string]bool{}
	for _, d := range g.Search {
		if err := checkDimension(d); err != nil {
			return err
		}
		if seen[d.Name] {
			return wrong("search."+d.Name, "it is named twice", "")
		}
		seen[d.Name] = true
	}
	return nil
}

func checkDimension(d *messages.Dimension) error {
	field := "search." + clipped(d.GetName())
	finite := !math.IsNaN(d.GetLow()) && !math.IsInf(d.GetLow(), 0) && !math.IsNaN(d.GetHigh()) && !math.IsInf(d.GetHigh(), 0)
	switch {
	case d.GetName() == "" || len(d.Name) > longestName:
		return wrong("search", "a dimension has no name, or one that is too long", "it is the name of a parameter")
	case d.Name == stepsName:
		return wrong(field, "auto-tuning sets it itself", "say parameters.steps")
	case len(d.Values) > 0 && (d.Low != 0 || d.High != 0 || d.Log || d.Whole):
		return wrong(field, "it has both values and bounds", "give one of them")
	case len(d.Values) > mostValues:
		return wrong(field, fmt.Sprintf("it has %d values, and may have %d", len(d.Values), mostValues), "")
	case len(d.Values) > 0:
		sorted := slices.Sorted(slices.Values(d.Values))
		if len(slices.Compact(sorted)) < len(d.Values) || slices.ContainsFunc(d.Values, func(v string) bool { return len(v) > longestValue }) {
			return wrong(field, "a value is there twice, or is too long", "")
		}
		return nil
	case !finite:
		return wrong(field, "its bounds are no numbers", "")
	case d.Low == 0 && d.High == 0:
		return wrong(field, "it has neither values nor bounds", "give values, or low and high")
	case d.Low >= d.High:
		return wrong(field, fmt.Sprintf("low %v isn't below high %v", d.Low, d.High), "")
	case math.IsInf(d.High-d.Low, 0):
		return wrong(field, "its bounds are too far apart", "")
	case d.Log && d.Low <= 0:
		return wrong(field, fmt.Sprintf("low %v can't be varied by ratio", d.Low), "a logarithmic dimension begins above 0")
	case d.Whole && math.Ceil(d.Low) > math.Floor(d.High):
		return wrong(field, fmt.Sprintf("there is no whole number from %v to %v", d.Low, d.High), "")
	}
	return nil
}
