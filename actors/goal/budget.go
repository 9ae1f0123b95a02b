package goal

import (
	"fmt"
	"time"

	"modelops/messages"
)

// spent says, with the sums, which budget is spent; nil while none is. running is the device time of a job that hasn't ended, in milliseconds.
func (s State) spent(running int64) *messages.Error {
	used := s.DeviceMS + running
	switch bound, runs := s.Spec.GetBudgetSeconds(), s.Spec.GetBudgetRuns(); {
	case bound > 0 && used >= int64(bound)*1000:
		return messages.Errorf(messages.FailedPrecondition, "", "its budget of %s of device time is spent: %s in %s%s", seconds(int64(bound)*1000), seconds(used), plural(s.Count, "run"), s.soFar()).
			WithHint("another goal may have a higher budget_seconds")
	case runs > 0 && (s.Count > runs || s.Run == nil && s.Count >= runs):
		return messages.Errorf(messages.FailedPrecondition, "", "its budget of %s is spent: it made %d, with %s of device time%s", plural(runs, "run"), s.Count, seconds(used), s.soFar()).
			WithHint("another goal may have a higher budget_runs")
	}
	return nil
}

// left is the device time that its jobs may still use, in milliseconds; 0 = no bound.
func (s State) left() int64 {
	if s.Spec.GetBudgetSeconds() == 0 {
		return 0
	}
	return max(int64(s.Spec.BudgetSeconds)*1000-s.DeviceMS, 1)
}

func (s State) tooLate() *messages.Error {
	return messages.Errorf(messages.DeadlineExceeded, "", "its deadline of %s has passed after %s with %s of device time%s",
		s.Spec.Deadline.AsTime().Format(time.RFC3339), plural(s.Count, "run"), seconds(s.DeviceMS), s.soFar())
}

// Sums says what the goal has done and used, and how near its target it is.
func (s State) Sums() string {
	of := ""
	if b := s.Spec.GetBudgetSeconds(); b > 0 {
		of = " of " + seconds(int64(b)*1000)
	}
	runs := plural(s.Count, "run")
	if b := s.Spec.GetBudgetRuns(); b > 0 {
		runs = fmt.Sprintf("%d of %s", s.Count, plural(b, "run"))
	}
	return fmt.Sprintf("%s with %s%s of device time%s", runs, seconds(s.DeviceMS), of, s.soFar())
}

// soFar says how near the target was.
func (s State) soFar() string {
	switch {
	case s.Spec.GetMetric() == "":
		return ""
	case s.BestRun == 0:
		return fmt.Sprintf("; no run has a figure, and the target is %s %s", s.Spec.Metric, target(s.Spec))
	}
	return fmt.Sprintf("; its best %s is %s (run %d), and the target is %s", s.Spec.Metric, number(s.Best), s.BestRun, target(s.Spec))
}

func seconds(ms int64) string { return fmt.Sprintf("%.6g s", float64(ms)/1000) }

func plural(n uint32, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
