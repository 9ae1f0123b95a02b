package goal

import "modelops/messages"

// Progress is how far a goal is, from 0 to 1: how much of the way from its first figure to its target the best one has come, or without a target how many of
// its runs it has made.
func Progress(v *messages.GoalView) float64 {
	switch {
	case v.Phase == Completed:
		return 1
	case v.Spec.GetMetric() == "":
		return runsMade(v)
	case v.BestRun == 0:
		return 0
	}
	for _, r := range v.Runs {
		if first, ok := r.Metrics[metric(v.Spec)]; ok && r.Stage == Ended {
			if way := v.Spec.Value - first; way != 0 {
				return min(max((v.Best-first)/way, 0), 1)
			}
			return 1
		}
	}
	return 0
}

func runsMade(v *messages.GoalView) float64 {
	ended := 0
	for _, r := range v.Runs {
		if r.Stage == Ended {
			ended++
		}
	}
	switch planned := v.Spec.GetBudgetRuns(); {
	case planned > 0:
		return min(float64(ended)/float64(planned), 1)
	case ended > 0 && v.Spec.GetSchedule() == "" && len(v.Spec.GetSearch()) == 0:
		return 1
	}
	return 0
}
