package goal

import (
	"fmt"
	"math"
	"slices"
	"time"

	"modelops/messages"
)

const (
	// fewestFigures is how many runs a trend needs: two points are always on a line.
	fewestFigures = 4
	// mostAhead bounds a forecast: beyond it, the trend says nothing.
	mostAhead = 10_000
)

// Forecast says what the runs so far tell about those to come. The trend is a line through figure and logarithm of the run's number, or through the
// logarithms of both where less is better and the figures are positive, which is how losses fall; it is fitted by least squares. The bounds follow
// from the error of its slope: four of five such intervals hold.
func Forecast(v *messages.GoalView, now time.Time) *messages.GoalForecast {
	out := &messages.GoalForecast{}
	costs(out, v)
	bounds(out, v, now)
	switch {
	case v.Phase == Completed || v.Phase == Failed || v.Phase == Cancelled:
		return &messages.GoalForecast{Text: "it has ended"}
	case v.Spec.GetMetric() == "":
		out.Text = "it has no target" + bounded(out)
		return out
	}
	out.Text = trend(out, v)
	if out.Runs > 0 && out.RunWallMs > 0 {
		out.MetMs = now.UnixMilli() + int64(out.Runs)*out.RunWallMs
	}
	out.Text += bounded(out)
	return out
}

// costs are what a run takes.
func costs(out *messages.GoalForecast, v *messages.GoalView) {
	var device, wall []float64
	for _, r := range v.Runs {
		if r.Stage == Ended && r.Result != messages.GoalRun_stopped {
			device, wall = append(device, float64(r.DeviceMs)), append(wall, float64(r.EndedMs-r.BeganMs))
		}
	}
	mean, sd := spread(device)
	out.RunDeviceMs, out.RunDeviceSdMs = int64(mean), int64(sd)
	mean, _ = spread(wall)
	out.RunWallMs = int64(mean)
}

func spread(of []float64) (mean, sd float64) {
	if len(of) == 0 {
		return 0, 0
	}
	for _, x := range of {
		mean += x / float64(len(of))
	}
	if len(of) == 1 {
		return mean, 0
	}
	for _, x := range of {
		sd += (x - mean) * (x - mean) / float64(len(of)-1)
	}
	return mean, math.Sqrt(sd)
}

// bounds are when budget and deadline end it, if nothing else does.
func bounds(out *messages.GoalForecast, v *messages.GoalView, now time.Time) {
	spec := v.Spec
	first := func(at int64, by string) {
		if out.SpentMs == 0 || at < out.SpentMs {
			out.SpentMs, out.SpentBy = at, by
		}
	}
	ahead := func(runs float64) int64 {
		return now.UnixMilli() + int64(min(runs*float64(out.RunWallMs), float64(mostDeviceMS)))
	}
	if n := spec.GetBudgetRuns(); n > 0 {
		out.RunsLeft = n - min(v.RunCount, n)
		if out.RunWallMs > 0 {
			first(ahead(float64(out.RunsLeft)), "budget_runs")
		}
	}
	if n := spec.GetBudgetSeconds(); n > 0 && out.RunDeviceMs > 0 {
		left := float64(max(int64(n)*1000-v.DeviceMs, 0)) / float64(out.RunDeviceMs)
		if runs := uint32(min(math.Ceil(left), mostRuns)); spec.GetBudgetRuns() == 0 || runs < out.RunsLeft {
			out.RunsLeft = runs
		}
		first(ahead(left), "budget_seconds")
	}
	if spec.GetDeadline() != nil {
		first(spec.Deadline.AsTime().UnixMilli(), "deadline")
	}
}

func bounded(out *messages.GoalForecast) string {
	if out.SpentMs == 0 {
		return ""
	}
	return fmt.Sprintf("; %s ends it at %s at the latest", out.SpentBy, time.UnixMilli(out.SpentMs).UTC().Format(time.RFC3339))
}

// trend estimates how many runs the target is away, and says it.
func trend(out *messages.GoalForecast, v *messages.GoalView) string {
	var x, y []float64
	for _, r := range v.Runs {
		f, ok := r.Metrics[v.Spec.Metric]
		if ok && r.Stage == Ended && r.Result != messages.GoalRun_broke && r.Result != messages.GoalRun_stopped {
			x, y = append(x, math.Log(float64(r.Run))), append(y, f)
		}
	}
	if len(y) < fewestFigures {
		return fmt.Sprintf("runs with a figure so far: %d; a trend needs %d", len(y), fewestFigures)
	}
	goal, falls := v.Spec.Value, v.Spec.Comparison == messages.GoalSpec_at_most
	if falls && goal > 0 && slices.Min(y) > 0 {
		for i := range y {
			y[i] = math.Log(y[i])
		}
		goal = math.Log(goal)
	}
	fit := line(x, y)
	at := func(slope float64) uint32 { return fit.crosses(slope, goal, falls, v.RunCount) }
	if out.Runs = at(fit.slope); out.Runs == 0 {
		return fmt.Sprintf("the trend of %s doesn't lead to the target", plural(uint32(len(y)), "run"))
	}
	steeper, flatter := fit.slope+fit.error, fit.slope-fit.error
	if falls {
		steeper, flatter = flatter, steeper
	}
	out.Least, out.Most = max(at(steeper), 1), at(flatter)
	out.Least = min(out.Least, out.Runs)
	if out.Most == 0 {
		return fmt.Sprintf("some %s more, at least %d, by the trend of %s; it is too weak for an upper bound", plural(out.Runs, "run"), out.Least, plural(uint32(len(y)), "run"))
	}
	out.Most = max(out.Most, out.Runs)
	return fmt.Sprintf("some %s more, likely %d to %d, by the trend of %s", plural(out.Runs, "run"), out.Least, out.Most, plural(uint32(len(y)), "run"))
}

// fitted is a line through points, by its middle and its slope. error is half the 80 % interval of the slope.
type fitted struct{ x, y, slope, error float64 }

func line(x, y []float64) fitted {
	n := float64(len(x))
	var f fitted
	f.x, _ = spread(x)
	f.y, _ = spread(y)
	var xx, xy, rest float64
	for i := range x {
		xx += (x[i] - f.x) * (x[i] - f.x)
		xy += (x[i] - f.x) * (y[i] - f.y)
	}
	f.slope = xy / xx
	for i := range x {
		d := y[i] - f.y - f.slope*(x[i]-f.x)
		rest += d * d
	}
	f.error = student80(len(x)-2) * math.Sqrt(rest/(n-2)/xx)
	return f
}

// crosses is how many runs from now on a line of this slope reaches the target; 0 = it doesn't.
func (f fitted) crosses(slope, goal float64, falls bool, now uint32) uint32 {
	if slope == 0 || math.IsNaN(slope) || falls != (slope < 0) {
		return 0
	}
	run := math.Exp(f.x + (goal-f.y)/slope)
	if !(run-float64(now) <= mostAhead) {
		return 0
	}
	return uint32(max(math.Ceil(run-float64(now)-1e-9), 1))
}

// student80 is the 90th percentile of Student's t by degrees of freedom.
func student80(degrees int) float64 {
	table := []float64{3.078, 1.886, 1.638, 1.533, 1.476, 1.440, 1.415, 1.397, 1.383, 1.372}
	if degrees <= len(table) {
		return table[max(degrees, 1)-1]
	}
	return 1.282 + 0.9/float64(degrees)
}
