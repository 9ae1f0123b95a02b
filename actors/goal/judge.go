package goal

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"modelops/messages"
)

// metric is the figure by which runs are compared: the target's, else a loss.
func metric(spec *messages.GoalSpec) string {
	switch {
	case spec.GetMetric() != "":
		return spec.Metric
	case spec.GetEvaluation() != "":
		return "eval_loss"
	}
	return "loss"
}

// better tells whether a figure is better than another one. A goal without a target has a loss, of which less is better.
func better(spec *messages.GoalSpec, a, b float64) bool {
	if spec.GetComparison() == messages.GoalSpec_at_least {
		return a > b
	}
	return a < b
}

// reaches tells whether a figure reaches the target; never without one.
func reaches(spec *messages.GoalSpec, v float64) bool {
	switch {
	case spec.GetMetric() == "":
		return false
	case spec.Comparison == messages.GoalSpec_at_least:
		return v >= spec.Value
	}
	return v <= spec.Value
}

// figure is what the run is compared by. There is none of one that broke, was stopped or was rolled back.
func (r Run) figure(spec *messages.GoalSpec) (float64, bool) {
	if r.Result == messages.GoalRun_broke || r.Result == messages.GoalRun_stopped || r.RolledBack {
		return 0, false
	}
	v, ok := r.Metrics[metric(spec)]
	return v, ok
}

// judged tells whether the run's figures are those that count: the evaluation's, where there is one.
func (r Run) judged() bool { return r.Spec.GetEvaluation() == "" || r.Evaluated }

// reached tells whether the run reached the target.
func (s State) reached(r Run) bool {
	v, ok := r.figure(s.Spec)
	return ok && r.judged() && reaches(s.Spec, v)
}

// beats tells whether the run is better than what serves; when nothing serves, it is.
func (s State) beats(r Run) bool {
	v, ok := r.figure(s.Spec)
	if r.BaseVersion == "" || !ok {
		return ok
	}
	base, ok := r.BaseMetrics[metric(s.Spec)]
	return ok && better(s.Spec, v, base)
}

// next is the stage that a run needs next. A trial before the last rung is only measured, unless it reaches the target at once.
func (s State) next(r Run) Stage {
	full := r.Bracket == 0 || r.Last || s.reached(r)
	switch {
	case full && r.Spec.GetModel() != "" && r.Version == "":
		return Registering
	case r.Spec.GetEvaluation() != "" && !r.Evaluated:
		return Evaluating
	case r.Spec.GetEvaluation() != "" && r.Version != "" && !r.Compared:
		return Comparing
	case r.Version != "" && r.Compared && r.Spec.GetRollout() == "auto" && s.beats(r) && r.Stage != RollingOut:
		return RollingOut
	}
	return Ended
}

// result says what became of a run that went through all of its stages, and why.
func (s State) result(r Run) (messages.GoalRun_Result, string) {
	v, ok := r.figure(s.Spec)
	name := metric(s.Spec)
	switch {
	case s.reached(r):
		return messages.GoalRun_won, fmt.Sprintf("%s %s reaches the target of %s", name, number(v), target(s.Spec))
	case r.Bracket > 0 && !r.Last:
		return messages.GoalRun_tried, fmt.Sprintf("%s %s in rung %d", name, number(v), r.Rung)
	case r.Compared && r.BaseVersion != "" && s.beats(r):
		return messages.GoalRun_won, fmt.Sprintf("%s %s is better than %s of %s, which serves", name, number(v), number(r.BaseMetrics[name]), r.BaseVersion)
	case r.Compared && r.BaseVersion != "" && !ok:
		return messages.GoalRun_lost, "its evaluation has no " + name
	case r.Compared && r.BaseVersion != "" && !measured(r.BaseMetrics, name):
		return messages.GoalRun_lost, fmt.Sprintf("the evaluation of %s, which serves, has no %s", r.BaseVersion, name)
	case r.Compared && r.BaseVersion != "":
		return messages.GoalRun_lost, fmt.Sprintf("%s %s isn't better than %s of %s, which serves", name, number(v), number(r.BaseMetrics[name]), r.BaseVersion)
	case s.Spec.GetMetric() != "":
		return messages.GoalRun_lost, fmt.Sprintf("%s %s doesn't reach the target of %s", name, number(v), target(s.Spec))
	}
	return messages.GoalRun_won, "there is nothing to compare it with"
}

func measured(metrics map[string]float64, name string) bool {
	_, ok := metrics[name]
	return ok
}

// lacks says why a run's figures can't be judged; empty when they can, or need not.
func (s State) lacks(r Run) string {
	if _, ok := r.Metrics[metric(s.Spec)]; ok || !r.judged() || s.Spec.GetMetric() == "" && len(s.Spec.GetSearch()) == 0 {
		return ""
	}
	has := "no figure at all"
	if names := slices.Sorted(maps.Keys(r.Metrics)); len(names) > 0 {
		has = strings.Join(names[:min(len(names), 10)], ", ")
	}
	return fmt.Sprintf("it reported no %s, by which this goal goes; it reported %s", metric(s.Spec), has)
}

// target writes the target: "at most 0.5".
func target(spec *messages.GoalSpec) string {
	word := "at most "
	if spec.GetComparison() == messages.GoalSpec_at_least {
		word = "at least "
	}
	return word + number(spec.GetValue())
}

func number(v float64) string { return fmt.Sprintf("%.4g", v) }

// mostFigures bounds what is journaled of a job's figures.
const mostFigures = 50

// finite leaves out what isn't a number, which no snapshot could hold, and what is too much: trainers report anything. The goal's own figure comes first.
func finite(metrics map[string]float64, own string) map[string]float64 {
	rank := func(name string) int {
		if name == own {
			return 0
		}
		return 1
	}
	var out map[string]float64
	for _, name := range slices.SortedFunc(maps.Keys(metrics), func(a, b string) int { return cmp.Or(rank(a)-rank(b), cmp.Compare(a, b)) }) {
		if v := metrics[name]; len(out) < mostFigures && len(name) <= longestName && !math.IsNaN(v) && !math.IsInf(v, 0) {
			if out == nil {
				out = map[string]float64{}
			}
			out[name] = v
		}
	}
	return out
}
