package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"modelops/messages"
)

func (c *cli) jobsCommand() *cobra.Command {
	q := &messages.JobsRequest{}
	cmd := &cobra.Command{
		Use: "jobs", Args: cobra.NoArgs,
		Short: "List training and evaluation jobs, submit and control them",
		Long: "jobs lists the training and evaluation jobs of every host, the newest first: how far each is, its loss, and where it runs or why it waits. Its\n" +
			"commands submit, show and control them. A job goes on when the daemon stops, and lives on the host where it was submitted.",
		Example: "  modelops jobs --status running\n  modelops jobs submit --recipe lora --model tiny --data chats.jsonl --wait\n  modelops jobs metrics lora-1f00c3d2 --follow",
		RunE: c.asks(shortWait, func(ctx context.Context, k *client, _ []string) error {
			l, err := k.ListJobs(ctx, q)
			if err != nil {
				return err
			}
			return show(c, l, c.printJobs)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&q.Status, "status", "", "only those that are pending, reserved, running, checkpointing, preempted, paused, completed, failed or cancelled")
	f.StringVar(&q.Model, "model", "", "only those of a model")
	f.StringVar(&q.Goal, "goal", "", "only those of a goal")
	f.Uint32Var(&q.Limit, "limit", 0, "most jobs (default: 1000)")
	f.StringVar(&q.PageToken, "page", "", "go on where a list with --limit ended, by its next_page_token")
	hostFlag(cmd, &q.Host, "only those of this host")
	about := []*cobra.Command{c.jobsShowCommand(), c.jobsWatchCommand(), c.jobsMetricsCommand(), c.jobsLogsCommand()}
	for _, o := range jobOrders {
		about = append(about, c.jobOrderCommand(o))
	}
	for _, each := range about {
		each.ValidArgsFunction = c.completeJobs
	}
	cmd.AddCommand(append(about, c.jobsSubmitCommand())...)
	return cmd
}

// completeJobs offers the ids of jobs, and nothing when no daemon answers.
func (c *cli) completeJobs(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeWait)
	defer cancel()
	k, err := c.dial(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer k.close()
	l, err := k.ListJobs(ctx, &messages.JobsRequest{Limit: 100})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []cobra.Completion
	for _, j := range l.Jobs {
		out = append(out, cobra.CompletionWithDesc(j.JobId, j.Phase))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// printJobs lists jobs.
func (c *cli) printJobs(l *messages.JobList) error {
	defer c.printStale(l.Hosts)
	if len(l.Jobs) == 0 {
		fmt.Fprintln(c.stdout, "there are no jobs; `modelops jobs submit` makes one")
		return nil
	}
	hosts := len(l.Hosts) > 0
	t := table{columns: at(hosts, "HOST", "ID", "KIND", "MODEL", "STATE", "PROGRESS", "STEP", "LOSS", "ETA", "WHERE")}
	for _, j := range l.Jobs {
		t.add(at(hosts, j.Host, j.JobId, j.JobType, j.ModelName, j.Phase, progressBar(j.Progress), steps(j), loss(j), eta(j), where(j))...)
	}
	c.paint(&t, len(t.columns)-6)
	if err := t.print(c.stdout); err != nil || l.NextPageToken == "" {
		return err
	}
	_, err := fmt.Fprintf(c.stdout, "there are more: --page %s\n", l.NextPageToken)
	return err
}

// barWidth is how wide a bar is, in characters.
const barWidth = 10

func progressBar(share float64) string {
	share = min(max(share, 0), 1)
	full := int(share * barWidth)
	return strings.Repeat("█", full) + strings.Repeat("░", barWidth-full) + fmt.Sprintf(" %3.0f%%", share*100)
}

func steps(j *messages.LearningJob) string {
	switch {
	case j.Step == 0 && j.Total == 0:
		return ""
	case j.Total == 0:
		return fmt.Sprint(j.Step)
	}
	return fmt.Sprintf("%d/%d", j.Step, j.Total)
}

// loss is the held-out loss of a job that has measured it, else that of its last step.
func loss(j *messages.LearningJob) string {
	for _, name := range []string{"eval_loss", "loss"} {
		if v, ok := j.Metrics[name]; ok && (name == "loss" || j.EndedMs > 0) {
			return figure(v)
		}
	}
	return ""
}

func figure(v float64) string { return fmt.Sprintf("%.4g", v) }

func eta(j *messages.LearningJob) string {
	if j.EtaSeconds <= 0 {
		return ""
	}
	return lasting(time.Duration(j.EtaSeconds * float64(time.Second)))
}

// where is the devices that a job has, or why it has none.
func where(j *messages.LearningJob) string {
	if len(j.Gpus) > 0 {
		var names []string
		for _, gpu := range j.Gpus {
			names = append(names, nameOf(gpu))
		}
		return strings.Join(names, ",")
	}
	if j.WaitsFor != "" {
		text := "waits for " + j.WaitsFor
		if j.Place > 0 {
			text += fmt.Sprintf(", place %d", j.Place)
		}
		return text
	}
	text, _, _ := strings.Cut(cmp.Or(j.GetErrorMessage().GetValue(), j.Reason), "\n")
	if runes := []rune(text); len(runes) > 60 {
		text = string(runes[:57]) + "..."
	}
	return text
}

func (c *cli) jobsShowCommand() *cobra.Command {
	r := &messages.JobRequest{}
	cmd := &cobra.Command{
		Use: "show ID", Args: cobra.ExactArgs(1),
		Short: "Show one job",
		RunE: c.asks(shortWait, func(ctx context.Context, k *client, args []string) error {
			r.JobId = args[0]
			j, err := k.GetJob(ctx, r)
			if err != nil {
				return err
			}
			return show(c, j, c.printJob)
		}),
	}
	hostFlag(cmd, &r.Host, "the host on which it lives")
	return cmd
}

// printJob shows all of a job, one fact a line.
func (c *cli) printJob(j *messages.LearningJob) error {
	t := table{columns: []string{"ID", j.JobId}}
	add := func(name, value string) {
		if value != "" {
			t.add(name, value)
		}
	}
	add("HOST", j.Host)
	add("KIND", j.JobType)
	add("RECIPE", j.Recipe)
	add("MODEL", j.ModelName)
	add("DATA", j.DatasetPath)
	add("GOAL", j.Goal)
	add("CLASS", j.Class)
	for _, name := range slices.Sorted(maps.Keys(j.Parameters)) {
		add("  "+name, j.Parameters[name])
	}
	add("STATE", j.Phase)
	add("WHERE", where(j))
	add("PROGRESS", progressBar(j.Progress))
	add("STEP", steps(j))
	add("ETA", eta(j))
	for _, name := range slices.Sorted(maps.Keys(j.Metrics)) {
		add("  "+name, figure(j.Metrics[name]))
	}
	if cp := j.Checkpoint; cp != nil {
		add("CHECKPOINT", fmt.Sprintf("step %d, %s", cp.Step, cp.Path))
	}
	if j.Attempts > 0 {
		add("ATTEMPTS", fmt.Sprintf("%d, preempted %d times", j.Attempts, j.Preemptions))
		add("DEVICE TIME", lasting(time.Duration(j.DeviceSeconds*float64(time.Second))))
	}
	add("SUBMITTED", sinceWhen(c.now(), j.SubmittedMs))
	add("STARTED", sinceWhen(c.now(), j.StartedMs))
	add("ENDED", sinceWhen(c.now(), j.EndedMs))
	add("RETRY OF", j.RetryOf)
	add("REASON", j.Reason)
	add("ERROR", j.GetErrorMessage().GetValue())
	for _, a := range j.Artifacts {
		add("RESULT", a.Path)
	}
	return t.print(c.stdout)
}

func sinceWhen(now time.Time, ms int64) string {
	if ms == 0 {
		return ""
	}
	return ago(now, ms) + " ago"
}

// jobOrder is an order to a job.
type jobOrder struct {
	verb, short string
	give        func(*client, context.Context, *messages.JobRequest) (*messages.LearningJobReply, error)
}

var jobOrders = []jobOrder{
	{"cancel", "End a job", func(k *client, ctx context.Context, r *messages.JobRequest) (*messages.LearningJobReply, error) {
		return k.CancelJob(ctx, r)
	}},
	{"pause", "Have a job write a checkpoint and give its memory back, until it is resumed", func(k *client, ctx context.Context, r *messages.JobRequest) (*messages.LearningJobReply, error) {
		return k.PauseJob(ctx, r)
	}},
	{"resume", "Let a paused job go on", func(k *client, ctx context.Context, r *messages.JobRequest) (*messages.LearningJobReply, error) {
		return k.ResumeJob(ctx, r)
	}},
	{"retry", "Submit a job that has ended once more, as a new one", func(k *client, ctx context.Context, r *messages.JobRequest) (*messages.LearningJobReply, error) {
		return k.RetryJob(ctx, r)
	}},
	{"delete", "Forget a job that has ended, with its files", func(k *client, ctx context.Context, r *messages.JobRequest) (*messages.LearningJobReply, error) {
		return k.DeleteJob(ctx, r)
	}},
	{"checkpoint", "Ask a running job for a checkpoint; it goes on", func(k *client, ctx context.Context, r *messages.JobRequest) (*messages.LearningJobReply, error) {
		return k.CheckpointJob(ctx, r)
	}},
}

func (c *cli) jobOrderCommand(o jobOrder) *cobra.Command {
	r := &messages.JobRequest{}
	cmd := &cobra.Command{
		Use: o.verb + " ID", Args: cobra.ExactArgs(1), Short: o.short,
		RunE: c.asks(shortWait, func(ctx context.Context, k *client, args []string) error {
			r.JobId = args[0]
			reply, err := o.give(k, ctx, r)
			if err != nil {
				return err
			}
			return show(c, reply, c.printJobReply)
		}),
	}
	hostFlag(cmd, &r.Host, "the host on which it lives")
	switch o.verb {
	case "cancel", "pause":
		cmd.Flags().StringVar(&r.Reason, "reason", "", "why, for those who ask later")
	case "retry":
		cmd.Flags().StringVar(&r.NewJobId, "id", "", "id of the new job (default: the old one's with a number)")
	}
	return cmd
}

func (c *cli) printJobReply(r *messages.LearningJobReply) error {
	_, err := fmt.Fprintln(c.stdout, r.Message)
	return err
}

func (c *cli) jobsLogsCommand() *cobra.Command {
	var n uint32
	var follow bool
	var host string
	cmd := &cobra.Command{
		Use: "logs ID", Args: cobra.ExactArgs(1),
		Short: "Print what a job's trainer wrote in its latest attempt",
	}
	cmd.Flags().Uint32VarP(&n, "lines", "n", 100, "number of lines")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "keep printing new output")
	hostFlag(cmd, &host, "the host on which it lives")
	cmd.RunE = act(func(ctx context.Context, args []string) error {
		k, err := c.dialLogs(ctx)
		if err != nil {
			return err
		}
		defer k.close()
		name := messages.KindJob + "/" + strings.TrimPrefix(args[0], messages.KindJob+"/")
		return c.printLog(ctx, k, &messages.LogRequest{ModelName: name, Host: host, Lines: n}, follow)
	})
	return cmd
}
