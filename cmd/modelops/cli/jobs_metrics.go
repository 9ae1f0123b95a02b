package cli

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"modelops/messages"
)

func (c *cli) jobsMetricsCommand() *cobra.Command {
	r := &messages.JobMetricsRequest{}
	var follow bool
	cmd := &cobra.Command{
		Use: "metrics ID", Args: cobra.ExactArgs(1),
		Short: "Show the curves of a job: loss and other figures",
		Long: "metrics draws each figure that a job's trainer reports as a line of bars, with its first, least, largest and last value. With --follow it prints samples as they\n" +
			"come, until the job has ended. --json prints the samples, one a line with --follow.",
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "print samples as they come")
	hostFlag(cmd, &r.Host, "the host on which it lives")
	cmd.RunE = act(func(ctx context.Context, args []string) error {
		k, err := c.dialLogs(ctx)
		if err != nil {
			return err
		}
		defer k.close()
		r.JobId = args[0]
		if follow {
			return c.followMetrics(ctx, k, r)
		}
		all, err := c.allSamples(ctx, k, r)
		if err != nil {
			return err
		}
		return show(c, all, c.printCurves)
	})
	return cmd
}

func (c *cli) samplePage(ctx context.Context, k *client, r *messages.JobMetricsRequest) (*messages.JobMetrics, error) {
	ctx, cancel := c.within(ctx, time.Duration(r.WaitMs)*time.Millisecond+shortWait)
	defer cancel()
	return k.ReadJobMetrics(ctx, r)
}

// allSamples reads page after page.
func (c *cli) allSamples(ctx context.Context, k *client, r *messages.JobMetricsRequest) (*messages.JobMetrics, error) {
	var all *messages.JobMetrics
	for {
		page, err := c.samplePage(ctx, k, r)
		if err != nil {
			return nil, err
		}
		if all == nil {
			all = page
		} else {
			all.Samples = append(all.Samples, page.Samples...)
			all.Next, all.Phase, all.Ended = page.Next, page.Phase, page.Ended
		}
		if len(page.Samples) == 0 || page.Ended {
			return all, nil
		}
		r.After = page.Next
	}
}

// followMetrics prints samples until the job has ended.
func (c *cli) followMetrics(ctx context.Context, k *client, r *messages.JobMetricsRequest) error {
	for answered := time.Now(); ; {
		page, err := c.samplePage(ctx, k, r)
		switch {
		case ctx.Err() != nil:
			return messages.AsError(ctx.Err())
		case messages.CodeOf(err) == messages.Unavailable && time.Since(answered) < jobLost:
			if !pause(ctx, watchAgain) {
				return messages.AsError(ctx.Err())
			}
			continue
		case err != nil:
			return err
		}
		answered = time.Now()
		for _, s := range page.Samples {
			if err := c.printSample(s); err != nil {
				return err
			}
		}
		if page.Ended {
			return nil
		}
		r.After, r.WaitMs = page.Next, uint32(watchWait.Milliseconds())
	}
}

func (c *cli) printSample(s *messages.JobSample) error {
	if c.asJSON {
		return printJSONLine(c.stdout, compact(s))
	}
	line := fmt.Sprintf("step %d", s.Step)
	if s.Total > 0 {
		line += fmt.Sprintf("/%d", s.Total)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Metrics)) {
		line += fmt.Sprintf("  %s %s", name, figure(s.Metrics[name]))
	}
	_, err := fmt.Fprintln(c.stdout, line)
	return err
}

// curveWidth is how many bars a curve has at most.
const curveWidth = 40

// printCurves draws the figures of a job.
func (c *cli) printCurves(m *messages.JobMetrics) error {
	curves := map[string][]float64{}
	var last uint64
	for _, s := range m.Samples {
		last = max(last, s.Step)
		for name, v := range s.Metrics {
			curves[name] = append(curves[name], v)
		}
	}
	if len(curves) == 0 {
		_, err := fmt.Fprintf(c.stdout, "%s has no samples yet; it is %s\n", m.JobId, m.Phase)
		return err
	}
	t := table{columns: []string{"METRIC", "CURVE", "FIRST", "LEAST", "LARGEST", "LAST"}}
	for _, name := range slices.Sorted(maps.Keys(curves)) {
		v := curves[name]
		t.add(name, sparkline(v, curveWidth), figure(v[0]), figure(slices.Min(v)), figure(slices.Max(v)), figure(v[len(v)-1]))
	}
	if err := t.print(c.stdout); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c.stdout, "%s is %s, at step %d\n", m.JobId, m.Phase, last)
	return err
}

var bars = []rune("▁▂▃▄▅▆▇█")

// sparkline is a curve as bars: the mean of as many values as fall on each.
func sparkline(values []float64, width int) string {
	n := min(len(values), width)
	means := make([]float64, n)
	for i := range n {
		from, to := i*len(values)/n, (i+1)*len(values)/n
		for _, v := range values[from:to] {
			means[i] += v / float64(to-from)
		}
	}
	if n == 0 {
		return ""
	}
	least, most := slices.Min(means), slices.Max(means)
	var out strings.Builder
	for _, v := range means {
		at := 0
		if span := most - least; span > 0 && !math.IsInf(span, 0) {
			at = int((v - least) / span * float64(len(bars)-1))
		}
		out.WriteRune(bars[min(max(at, 0), len(bars)-1)])
	}
	return out.String()
}
