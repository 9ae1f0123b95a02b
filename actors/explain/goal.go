package explain

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"modelops/actors/goal"
	"modelops/messages"
)

func isGoal(id string) bool { return strings.HasPrefix(id, messages.KindGoal+"/") }

// Home is the host of what is asked about, if its name says that; else empty.
func (q Question) Home() string {
	if !isGoal(q.ID) {
		return q.Model.Host()
	}
	id, _ := messages.ParseActorID(q.ID)
	return id.Host()
}

// explainGoal says where a goal stands, what it waits for, and what its runs came to. NotFound: nobody created it.
func (r *reading) explainGoal(p Present) (*messages.Explanation, error) {
	s, _ := stateOf[goal.State](r.latest, r.question.ID)
	if s.Spec == nil {
		return nil, messages.NewError(messages.NotFound, r.question.Subject, "no goal of this name is known")
	}
	v, _ := goal.View(s).(*messages.GoalView)
	out := &messages.Explanation{Subject: r.question.Subject, Kind: messages.KindGoal, Reasons: r.reasons("")}
	title := short(v.Id)
	if s.Spec.Title != "" {
		title += " (" + s.Spec.Title + ")"
	}
	out.Summary = fmt.Sprintf("%s is %s%s", title, v.Phase, goalState(s, v))
	out.Summary += fmt.Sprintf(". It made %s", s.Sums())
	if !s.Over() {
		out.Summary += ". Forecast: " + goal.Forecast(v, p.Now).Text
	}
	if n := len(v.Runs); n > 0 {
		out.Summary += fmt.Sprintf(". Run %d: %s", v.Runs[n-1].Run, runState(v.Runs[n-1]))
	}
	out.Summary += "."
	out.WouldChange = goalChanges(s, v)
	return out, nil
}

func goalState(s goal.State, v *messages.GoalView) string {
	switch {
	case v.Phase == messages.GoalView_failed:
		return ": " + strings.TrimSuffix(v.Error.GetMessage(), ".")
	case v.Waits != "" && v.Reason != "":
		return " (" + v.Reason + ") and waits for " + v.Waits
	case v.Waits != "":
		return " and waits for " + v.Waits
	case v.Reason != "":
		return ": " + v.Reason
	}
	return ""
}

func runState(r *messages.GoalRun) string {
	if r.Stage != messages.GoalRun_ended {
		return r.Stage.String()
	}
	return fmt.Sprintf("%s, %s", r.Result, cmp.Or(r.Reason, "no reason was given"))
}

// goalChanges is what would have to be otherwise for the goal to be otherwise.
func goalChanges(s goal.State, v *messages.GoalView) []string {
	switch v.Phase {
	case messages.GoalView_pending:
		if v.DueMs > 0 {
			return []string{"its schedule to be due, or another one"}
		}
		return []string{"another goal of this host to end, to be paused or to give its turn up", "a higher priority or weight", "more goals that may be active at once"}
	case messages.GoalView_paused:
		return []string{"somebody to resume it"}
	case messages.GoalView_active:
		var out []string
		if job := jobOf(v); job != "" {
			out = append(out, "its job's end: modelops why "+job)
		}
		if s.Spec.Metric != "" {
			out = append(out, "a target that is nearer")
		}
		return out
	case messages.GoalView_failed:
		return []string{"another goal: one that has ended isn't opened again"}
	}
	return nil
}

// jobOf is the job of the latest run that the present stage waits for.
func jobOf(v *messages.GoalView) string {
	if len(v.Runs) == 0 {
		return ""
	}
	r := v.Runs[len(v.Runs)-1]
	return map[messages.GoalRun_Stage]string{messages.GoalRun_training: r.Job, messages.GoalRun_evaluating: r.Evaluation, messages.GoalRun_comparing: r.Base}[r.Stage]
}

func goalText(f fact) string {
	switch e := f.event.(type) {
	case *messages.GoalCreated:
		return "created: " + aim(e.GetSpec())
	case *messages.GoalChanged:
		return "changed: " + aim(e.GetSpec())
	case *messages.GoalStarted:
		return "it got its turn"
	case *messages.GoalYielded:
		if e.To == "" {
			return "it waits for its schedule, due at " + moment(e.Due.AsTime())
		}
		return "it gives its turn to " + short(e.To) + " after its run"
	case *messages.RunPlanned:
		return fmt.Sprintf("run %d begins%s%s", e.Run, parameters(e.Parameters), tuned(e))
	case *messages.RunJobMade:
		return fmt.Sprintf("run %d, %s: job %s", e.Run, e.Stage, e.Job)
	case *messages.RunAdvanced:
		said := ""
		if e.Version != "" {
			said += ", version " + e.Version
		}
		return fmt.Sprintf("run %d, %s is done%s%s, with %s of device time", e.Run, e.Ended, said, figured(e.Metrics), span(e.DeviceMs))
	case *messages.RunEnded:
		return fmt.Sprintf("run %d %s: %s; it took %s of device time", e.Run, e.Result, e.Reason, span(e.DeviceMs))
	case *messages.RungEnded:
		return fmt.Sprintf("rung %d of search %d is over: trials %v go on, %v don't", e.Rung, e.Bracket, e.Kept, e.Halved)
	case *messages.GoalPaused:
		return "paused: " + cmp.Or(e.Reason, "no reason was given")
	case *messages.GoalResumed:
		return "resumed"
	case *messages.GoalMet:
		return fmt.Sprintf("completed by run %d", e.Run)
	case *messages.GoalFailed:
		return "failed: " + saidError(e.Error)
	case *messages.GoalCancelled:
		return "cancelled: " + cmp.Or(e.Reason, "no reason was given")
	case *messages.GoalDeleted:
		return "deleted"
	}
	return ""
}

// aim is what a goal is to reach and what it may cost.
func aim(g *messages.GoalSpec) string {
	out := []string{"recipe " + g.GetRecipe()}
	if g.GetMetric() != "" {
		out = append(out, fmt.Sprintf("%s %s %.4g", g.Metric, strings.ReplaceAll(g.Comparison.String(), "_", " "), g.Value))
	}
	if g.GetBudgetSeconds() > 0 {
		out = append(out, fmt.Sprintf("at most %d s of device time", g.BudgetSeconds))
	}
	if g.GetBudgetRuns() > 0 {
		out = append(out, fmt.Sprintf("at most %d runs", g.BudgetRuns))
	}
	if g.GetDeadline() != nil {
		out = append(out, "until "+moment(g.Deadline.AsTime()))
	}
	return strings.Join(out, ", ")
}

func tuned(e *messages.RunPlanned) string {
	if e.Bracket == 0 {
		return ""
	}
	return fmt.Sprintf(" (search %d, rung %d, trial %d of %d)", e.Bracket, e.Rung, e.Trial, e.Trials)
}

func parameters(p map[string]string) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(p)) {
		out = append(out, name+"="+p[name])
	}
	if len(out) == 0 {
		return ""
	}
	return " with " + strings.Join(out, " ")
}

func figured(metrics map[string]float64) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		out = append(out, fmt.Sprintf("%s %.4g", name, metrics[name]))
	}
	if len(out) == 0 {
		return ""
	}
	return ": " + strings.Join(out, ", ")
}
