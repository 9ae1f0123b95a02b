package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"modelops/messages"
)

func (c *cli) goalsCommand() *cobra.Command {
	q := &messages.GoalsRequest{}
	cmd := &cobra.Command{
		Use: "goals", Args: cobra.NoArgs,
		Short: "List goals, which train until a figure is reached, and control them",
		Long: "goals lists the goals of every host: how far each is, its best figure, what it has spent, what is to be expected, and what it waits for. Its commands create, show\n" +
			"and control them. A goal makes jobs until its target is met, or its budget or time is spent.",
		Example: "  modelops goals create --example\n  modelops goals --status running\n  modelops goals trials example",
		RunE: c.asks(shortWait, func(ctx context.Context, k *client, _ []string) error {
			l, err := k.ListGoals(ctx, q)
			if err != nil {
				return err
			}
			return show(c, l, c.printGoals)
		}),
	}
	cmd.Flags().StringVar(&q.Status, "status", "", "only those that are pending, running, active, paused, completed, failed or cancelled")
	cmd.Flags().StringVar(&q.Model, "model", "", "only those of a model")
	hostFlag(cmd, &q.Host, "only those of this host")
	cmd.AddCommand(c.goalCreateCommand(), c.goalChangeCommand(), c.goalShowCommand("show", "Show one goal", c.printGoal), c.goalShowCommand("trials", "List the runs of a goal, with their settings and figures", c.printRuns))
	for _, o := range goalOrders {
		cmd.AddCommand(c.goalOrderCommand(o))
	}
	return cmd
}

// printGoals lists goals.
func (c *cli) printGoals(l *messages.GoalList) error {
	defer c.printStale(l.Hosts)
	if len(l.Goals) == 0 {
		fmt.Fprintln(c.stdout, "there are no goals; `modelops goals create --example` makes one")
		return nil
	}
	hosts := len(l.Hosts) > 0
	t := table{columns: at(hosts, "HOST", "ID", "PRIORITY", "STATE", "PROGRESS", "BEST", "RUNS", "DEVICE TIME", "FORECAST", "WAITS FOR")}
	for _, g := range l.Goals {
		v := g.GetGoal()
		t.add(at(hosts, g.Host, g.GoalId, g.Priority, g.Phase, progressBar(g.Progress), best(v), runsOf(v), spent(v), short(v.GetForecast().GetText()), short(cmp.Or(v.GetWaits(), g.GetErrorMessage().GetValue())))...)
	}
	c.paint(&t, len(t.columns)-7)
	return t.print(c.stdout)
}

// short is the beginning of a text that would make a table wide.
func short(text string) string {
	if runes := []rune(text); len(runes) > 60 {
		return string(runes[:57]) + "..."
	}
	return text
}

func best(v *messages.GoalView) string {
	if v.GetBestRun() == 0 {
		return ""
	}
	return figure(v.Best)
}

func runsOf(v *messages.GoalView) string {
	if most := v.GetSpec().GetBudgetRuns(); most > 0 {
		return fmt.Sprintf("%d/%d", v.RunCount, most)
	}
	return fmt.Sprint(v.GetRunCount())
}

func spent(v *messages.GoalView) string {
	text := lasting(time.Duration(v.GetDeviceMs()) * time.Millisecond)
	if most := v.GetSpec().GetBudgetSeconds(); most > 0 {
		text += " of " + lasting(time.Duration(most)*time.Second)
	}
	return text
}

func (c *cli) goalShowCommand(verb, what string, words func(*messages.LearningGoal) error) *cobra.Command {
	r := &messages.GoalOrder{}
	cmd := &cobra.Command{
		Use: verb + " ID", Args: cobra.ExactArgs(1), Short: what,
		RunE: c.asks(shortWait, func(ctx context.Context, k *client, args []string) error {
			r.GoalId = args[0]
			g, err := k.GetGoal(ctx, r)
			if err != nil {
				return err
			}
			return show(c, g, words)
		}),
	}
	hostFlag(cmd, &r.Host, "the host on which it lives")
	return cmd
}

// printGoal shows all of a goal, one fact a line.
func (c *cli) printGoal(g *messages.LearningGoal) error {
	t := table{columns: []string{"ID", g.GoalId}}
	add := func(name, value string) {
		if value != "" {
			t.add(name, value)
		}
	}
	v := g.GetGoal()
	s := v.GetSpec()
	add("HOST", g.Host)
	add("TITLE", g.Title)
	add("STATE", g.Phase)
	add("PRIORITY", g.Priority)
	if s.GetMetric() != "" {
		add("TARGET", fmt.Sprintf("%s %s %s", s.Metric, s.Comparison, figure(s.Value)))
	}
	add("PROGRESS", progressBar(g.Progress))
	add("BEST", best(v))
	add("RUNS", runsOf(v))
	add("DEVICE TIME", spent(v))
	add("MODEL", s.GetModel())
	add("RECIPE", s.GetRecipe())
	add("DATA", s.GetDataset())
	add("EVALUATION", s.GetEvaluation())
	add("HELD-OUT DATA", s.GetEvalDataset())
	for _, name := range slices.Sorted(maps.Keys(s.GetParameters())) {
		add("  "+name, s.Parameters[name])
	}
	add("ROLLOUT", s.GetRollout())
	add("SCHEDULE", s.GetSchedule())
	if s.GetDeadline() != nil {
		add("DEADLINE", s.Deadline.AsTime().Format(time.RFC3339))
	}
	add("WAITS FOR", v.GetWaits())
	add("FORECAST", v.GetForecast().GetText())
	add("CREATED", sinceWhen(c.now(), v.GetCreatedMs()))
	add("ENDED", sinceWhen(c.now(), v.GetEndedMs()))
	add("REASON", v.GetReason())
	add("ERROR", g.GetErrorMessage().GetValue())
	return t.print(c.stdout)
}

// printRuns lists the runs of a goal.
func (c *cli) printRuns(g *messages.LearningGoal) error {
	if len(g.GetGoal().GetRuns()) == 0 {
		fmt.Fprintln(c.stdout, "it has made no runs yet")
		return nil
	}
	t := table{columns: []string{"RUN", "TRIAL", "STAGE", "RESULT", "FIGURES", "SETTINGS", "VERSION", "DEVICE TIME", "REASON"}}
	for _, r := range g.Goal.Runs {
		trial := ""
		if r.Bracket > 0 {
			trial = fmt.Sprintf("%d, rung %d", r.Trial, r.Rung)
		}
		result := r.Result.String()
		if r.Result == messages.GoalRun_result_unknown {
			result = ""
		}
		t.add(fmt.Sprint(r.Run), trial, r.Stage.String(), result, figuresOf(r.Metrics), settingsOf(r.Parameters), r.Version, lasting(time.Duration(r.DeviceMs)*time.Millisecond), short(r.Reason))
	}
	return t.print(c.stdout)
}

func figuresOf(metrics map[string]float64) (text string) {
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		text += fmt.Sprintf(" %s=%s", name, figure(metrics[name]))
	}
	return short(text[min(1, len(text)):])
}

func settingsOf(settings map[string]string) (text string) {
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		text += fmt.Sprintf(" %s=%s", name, settings[name])
	}
	return short(text[min(1, len(text)):])
}

// goalOrder is an order to a goal.
type goalOrder struct {
	verb, short string
	give        func(*client, context.Context, *messages.GoalOrder) (*messages.GoalReply, error)
}

var goalOrders = []goalOrder{
	{"pause", "Keep a goal from making jobs; its running job goes on", func(k *client, ctx context.Context, r *messages.GoalOrder) (*messages.GoalReply, error) {
		return k.PauseGoal(ctx, r)
	}},
	{"resume", "Let a paused goal go on", func(k *client, ctx context.Context, r *messages.GoalOrder) (*messages.GoalReply, error) {
		return k.ResumeGoal(ctx, r)
	}},
	{"cancel", "End a goal, with its jobs", func(k *client, ctx context.Context, r *messages.GoalOrder) (*messages.GoalReply, error) {
		return k.CancelGoal(ctx, r)
	}},
	{"delete", "Forget a goal, and cancel its running job", func(k *client, ctx context.Context, r *messages.GoalOrder) (*messages.GoalReply, error) {
		return k.DeleteGoal(ctx, r)
	}},
}

func (c *cli) goalOrderCommand(o goalOrder) *cobra.Command {
	r := &messages.GoalOrder{}
	cmd := &cobra.Command{
		Use: o.verb + " ID", Args: cobra.ExactArgs(1), Short: o.short,
		RunE: c.asks(shortWait, func(ctx context.Context, k *client, args []string) error {
			r.GoalId = args[0]
			reply, err := o.give(k, ctx, r)
			if err != nil {
				return err
			}
			return show(c, reply, c.printGoalReply)
		}),
	}
	hostFlag(cmd, &r.Host, "the host on which it lives")
	switch o.verb {
	case "cancel", "pause":
		cmd.Flags().StringVar(&r.Reason, "reason", "", "why, for those who ask later")
	case "delete":
		cmd.Flags().BoolVar(&r.KeepJobs, "keep-jobs", false, "let its running job go on")
	}
	return cmd
}

func (c *cli) printGoalReply(r *messages.GoalReply) error {
	_, err := fmt.Fprintln(c.stdout, r.Message)
	return err
}
