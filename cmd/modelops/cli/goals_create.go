package cli

import (
	"context"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"modelops/messages"
)

// example is the data of `goals create --example`: facts about an imaginary cluster, and the same asked in other ways.
//
//go:embed example/*.jsonl
var example embed.FS

// goalFlags are the flags of create and change. What isn't said stays out of the request.
type goalFlags struct {
	r       *messages.GoalRequest
	params  []string
	search  []string
	texts   map[string]**string
	numbers map[string]**float64
}

func newGoalFlags(f *pflag.FlagSet) *goalFlags {
	r := &messages.GoalRequest{}
	g := &goalFlags{r: r, texts: map[string]**string{}, numbers: map[string]**float64{}}
	text := func(name string, field **string, what string) {
		f.String(name, "", what)
		g.texts[name] = field
	}
	number := func(name string, field **float64, what string) {
		f.Float64(name, 0, what)
		g.numbers[name] = field
	}
	text("title", &r.Title, "title")
	text("description", &r.Description, "what it is for")
	text("priority", &r.Priority, "critical, high, medium or low (default: medium)")
	text("model", &r.Model, "model to train")
	text("recipe", &r.Recipe, "trainer, by its name in learning.recipes")
	text("data", &r.Dataset, "file with the data")
	text("evaluation", &r.Evaluation, "recipe that measures each version on held-out data, such as evaluate")
	text("eval", &r.EvalDataset, "held-out data")
	text("metric", &r.Metric, "figure that is to reach the target: eval_loss, exact, loss (default: none, it makes its runs)")
	text("deadline", &r.Deadline, "when it ends at the latest: a date, or a time of RFC 3339")
	text("schedule", &r.Schedule, "when a run begins: the five fields of cron, with a time zone if it isn't the host's")
	text("rollout", &r.Rollout, "what a version that wins does: never, by_hand or auto (default: never)")
	text("class", &r.Class, "priority class of its jobs, as in queue.classes")
	text("window", &r.Window, `when its jobs may run: "22:00-06:00", or the five fields of cron and a duration`)
	number("gpu-hours", &r.BudgetGpuHours, "device time that all its jobs may take (default: no bound)")
	number("weight", &r.Weight, "share of turns under the policy round_robin (default: 1)")
	f.Float64("at-least", 0, "the target: the figure is to be this or more")
	f.Float64("at-most", 0, "the target: the figure is to be this or less")
	f.Int32("runs", 0, "most runs (default: no bound)")
	f.Uint64("seed", 0, "of the search, which the same seed repeats")
	f.Uint32("canary", 0, "of a rollout: requests that the version gets at first, in percent")
	f.Uint32("canary-seconds", 0, "of a rollout: how long it is tried")
	f.Bool("idle-only", false, "run jobs only while no request runs on their device")
	f.StringArrayVar(&g.params, "param", nil, "setting of the recipe, NAME=VALUE; may be repeated")
	f.StringArrayVar(&g.search, "search", nil, "setting that is searched for, NAME=VALUE,VALUE or NAME=LOW..HIGH (log: NAME=log:LOW..HIGH); may be repeated")
	return g
}

// request is what the flags say.
func (g *goalFlags) request(f *pflag.FlagSet) (_ *messages.GoalRequest, err error) {
	r := g.r
	for name, field := range g.texts {
		if f.Changed(name) {
			v, _ := f.GetString(name)
			*field = &v
		}
	}
	for name, field := range g.numbers {
		if f.Changed(name) {
			v, _ := f.GetFloat64(name)
			*field = &v
		}
	}
	for flag, comparison := range map[string]string{"at-least": "at_least", "at-most": "at_most"} {
		if f.Changed(flag) {
			v, _ := f.GetFloat64(flag)
			r.Value, r.Comparison = &v, proto.String(comparison)
		}
	}
	if f.Changed("runs") {
		v, _ := f.GetInt32("runs")
		r.BudgetRuns = &v
	}
	if f.Changed("seed") {
		v, _ := f.GetUint64("seed")
		r.Seed = &v
	}
	if f.Changed("canary") {
		v, _ := f.GetUint32("canary")
		r.CanaryPct = &v
	}
	if f.Changed("canary-seconds") {
		v, _ := f.GetUint32("canary-seconds")
		r.CanarySeconds = &v
	}
	if f.Changed("idle-only") {
		v, _ := f.GetBool("idle-only")
		r.IdleOnly = &v
	}
	for _, path := range []*string{r.Dataset, r.EvalDataset} {
		if path != nil && *path != "" {
			if *path, err = filepath.Abs(*path); err != nil {
				return nil, err
			}
		}
	}
	for _, said := range g.search {
		d, err := dimension(said)
		if err != nil {
			return nil, err
		}
		r.Search = append(r.Search, d)
	}
	r.Parameters, err = paramsOf(g.params)
	return r, err
}

// dimension reads NAME=VALUE,VALUE and NAME=[log:]LOW..HIGH.
func dimension(said string) (*messages.Dimension, error) {
	name, what, ok := strings.Cut(said, "=")
	if !ok || name == "" || what == "" {
		return nil, messages.Errorf(messages.InvalidArgument, "--search", "%q has no name with =", said).WithHint("write it as rank=4,8,16 or lr=log:1e-4..1e-2")
	}
	d := &messages.Dimension{Name: name}
	bounds, log := strings.CutPrefix(what, "log:")
	low, high, between := strings.Cut(bounds, "..")
	if !between {
		d.Values = strings.Split(what, ",")
		return d, nil
	}
	var err1, err2 error
	d.Log = log
	d.Low, err1 = strconv.ParseFloat(low, 64)
	d.High, err2 = strconv.ParseFloat(high, 64)
	if err1 != nil || err2 != nil {
		return nil, messages.Errorf(messages.InvalidArgument, "--search", "%q has bounds that are no numbers", said).WithHint("write it as lr=log:1e-4..1e-2")
	}
	return d, nil
}

func (c *cli) goalCreateCommand() *cobra.Command {
	var id, host string
	var small bool
	cmd := &cobra.Command{
		Use: "create --recipe RECIPE --model MODEL --data FILE", Args: cobra.NoArgs,
		Short: "Create a goal, which makes jobs until its target is met",
		Long: "create makes a goal and prints its id. Files are those of the host on which it lives; a relative name is of this directory. With --id, creating it again changes\n" +
			"nothing.\n\n" +
			"With --example it teaches the model tiny eight facts, until it answers questions about them that it hasn't seen.",
		Example: "  modelops goals create --example\n  modelops goals create --recipe lora --model tiny --data chats.jsonl --evaluation evaluate --eval held-out.jsonl --metric eval_loss --at-most 0.5 --runs 5 --rollout auto",
	}
	g := newGoalFlags(cmd.Flags())
	cmd.Flags().StringVar(&id, "id", "", "id of the goal (default: one is made)")
	cmd.Flags().BoolVar(&small, "example", false, "a small goal for the model tiny")
	cmd.MarkFlagsMutuallyExclusive("at-least", "at-most")
	hostFlag(cmd, &host, "host on which it is to live (default: the daemon's)")
	cmd.RunE = act(func(ctx context.Context, _ []string) error {
		r, err := g.request(cmd.Flags())
		if err == nil && small {
			r, err = exampleGoal(r)
		}
		if err != nil {
			return err
		}
		r.Host = host
		if id != "" {
			r.GoalId = id
		}
		return c.asked(ctx, longWait, func(ctx context.Context, k *client) error {
			reply, err := k.CreateGoal(ctx, r)
			if err != nil {
				return err
			}
			return show(c, reply, func(r *messages.GoalReply) error {
				_, err := fmt.Fprintf(c.stdout, "%s\n`modelops goals trials %s` shows its runs, `modelops jobs` their jobs\n", r.Message, r.GoalId)
				return err
			})
		})
	})
	return cmd
}

// exampleGoal is the goal of --example; flags that are given stay. Its data is written to this user's cache.
func exampleGoal(r *messages.GoalRequest) (*messages.GoalRequest, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, messages.Errorf(messages.FailedPrecondition, "--example", "its data can't be written: %w", err)
	}
	dir := filepath.Join(cache, "modelops", "example")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, messages.Errorf(messages.FailedPrecondition, dir, "the data of the example can't be written: %w", err)
	}
	for _, name := range []string{"ops-train.jsonl", "ops-eval.jsonl"} {
		b, err := example.ReadFile("example/" + name)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o644)
		}
		if err != nil {
			return nil, messages.Errorf(messages.FailedPrecondition, dir, "the data of the example can't be written: %w", err)
		}
	}
	params, err := structpb.NewStruct(map[string]any{"steps": "60", "lr": "5e-3", "batch": "8"})
	if err != nil {
		return nil, err
	}
	out := &messages.GoalRequest{GoalId: "example", Title: proto.String("answers about the example's facts"), Model: proto.String("tiny"), Recipe: proto.String("lora"),
		Dataset: proto.String(filepath.Join(dir, "ops-train.jsonl")), Evaluation: proto.String("evaluate"), EvalDataset: proto.String(filepath.Join(dir, "ops-eval.jsonl")),
		Metric: proto.String("exact"), Comparison: proto.String("at_least"), Value: proto.Float64(1), BudgetRuns: proto.Int32(5), Rollout: proto.String("auto"), CanarySeconds: proto.Uint32(5), Parameters: params}
	proto.Merge(out, r)
	return out, nil
}

func (c *cli) goalChangeCommand() *cobra.Command {
	var host string
	cmd := &cobra.Command{
		Use: "change ID", Args: cobra.ExactArgs(1),
		Short:   "Change what the flags say of a goal; what it did so far counts",
		Example: "  modelops goals change example --runs 10 --priority high",
	}
	g := newGoalFlags(cmd.Flags())
	cmd.MarkFlagsMutuallyExclusive("at-least", "at-most")
	hostFlag(cmd, &host, "the host on which it lives")
	cmd.RunE = act(func(ctx context.Context, args []string) error {
		r, err := g.request(cmd.Flags())
		if err != nil {
			return err
		}
		r.GoalId, r.Host = args[0], host
		return c.asked(ctx, longWait, func(ctx context.Context, k *client) error {
			reply, err := k.ChangeGoal(ctx, r)
			if err != nil {
				return err
			}
			return show(c, reply, c.printGoalReply)
		})
	})
	return cmd
}
