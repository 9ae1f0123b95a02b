package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/structpb"

	"modelops/messages"
)

func (c *cli) jobsSubmitCommand() *cobra.Command {
	r := &messages.LearningJobRequest{}
	var params []string
	var vram string
	var wait bool
	cmd := &cobra.Command{
		Use: "submit --recipe RECIPE --model MODEL --data FILE", Args: cobra.NoArgs,
		Short: "Submit a training or evaluation job",
		Long: "submit makes a job and prints its id. It waits for memory, runs, and goes on when the daemon stops. A recipe is a trainer of learning.recipes; full, lora, dpo\n" +
			"and evaluate are in the box. Files are those of the host that runs it; a relative name is of this directory.\n\n" +
			"With --id, submitting again changes nothing. With --wait, submit ends when the job has: with exit code 0 when it is completed, 1 when it failed or was cancelled. An\n" +
			"interrupt ends only the wait.",
		Example: "  modelops jobs submit --recipe lora --model tiny --data chats.jsonl --param steps=60 --param lr=5e-3 --wait\n" +
			"  modelops jobs submit --recipe evaluate --model tiny --data held-out.jsonl --wait --json",
	}
	f := cmd.Flags()
	f.StringVar(&r.Recipe, "recipe", "", "trainer, by its name in learning.recipes (default: the one of --type)")
	f.StringVar(&r.JobType, "type", "", "fine_tune, rlhf, evaluate or custom (default: the recipe's)")
	f.StringVar(&r.ModelName, "model", "", "model to train or to evaluate")
	f.StringVar(&r.DatasetPath, "data", "", "file with the data")
	f.StringVar(&r.EvalDataset, "eval", "", "held-out data")
	f.StringVar(&r.Base, "base", "", "file to start from (default: the model's)")
	f.StringArrayVar(&params, "param", nil, "setting of the recipe, NAME=VALUE; may be repeated")
	f.StringVar(&r.JobId, "id", "", "id of the job (default: one is made)")
	f.StringVar(&r.Goal, "goal", "", "goal that it serves")
	f.StringVar(&r.Class, "priority", "", "priority class, as in queue.classes")
	f.StringVar(&vram, "vram", "", "memory of each device, such as 10G (default: what the recipe needs)")
	f.Int32Var(&r.Devices, "devices", 0, "devices at once (default: what the recipe needs)")
	f.StringVar(&r.Window, "window", "", `when it may run: "22:00-06:00", or the five fields of cron and a duration`)
	f.BoolVar(&r.IdleOnly, "idle-only", false, "run only while no request runs on its device")
	f.BoolVar(&r.Unpreemptible, "unpreemptible", false, "never ask it to leave for others")
	f.BoolVar(&wait, "wait", false, "wait for its end")
	hostFlag(cmd, &r.Host, "host on which it is to live (default: the daemon's)")
	cmd.RunE = act(func(ctx context.Context, _ []string) (err error) {
		if r.Parameters, err = paramsOf(params); err != nil {
			return err
		}
		if vram != "" {
			bytes, err := parseSize("--vram", vram)
			if err != nil {
				return err
			}
			r.VramMb = int64((bytes + messages.MiB - 1) / messages.MiB)
		}
		for _, path := range []*string{&r.DatasetPath, &r.EvalDataset, &r.Base} {
			if *path == "" {
				continue
			}
			if *path, err = filepath.Abs(*path); err != nil {
				return err
			}
		}
		return c.submitJob(ctx, r, wait)
	})
	return cmd
}

// paramsOf reads NAME=VALUE.
func paramsOf(params []string) (*structpb.Struct, error) {
	out := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for _, p := range params {
		name, value, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return nil, messages.Errorf(messages.InvalidArgument, "--param", "%q has no name with =", p).WithHint("write it as steps=60")
		}
		if _, twice := out.Fields[name]; twice {
			return nil, messages.Errorf(messages.InvalidArgument, "--param", "%s is given twice", name)
		}
		out.Fields[name] = structpb.NewStringValue(value)
	}
	if len(out.Fields) == 0 {
		return nil, nil
	}
	return out, nil
}

func (c *cli) submitJob(ctx context.Context, r *messages.LearningJobRequest, wait bool) error {
	opening, cancel := c.within(ctx, longWait) // large data is hashed meanwhile
	defer cancel()
	k, err := c.dial(opening)
	if err != nil {
		return err
	}
	defer k.close()
	reply, err := k.SubmitJob(opening, r)
	if err != nil {
		return err
	}
	if !wait {
		return show(c, reply, func(r *messages.LearningJobReply) error {
			_, err := fmt.Fprintf(c.stdout, "%s\n`modelops jobs watch %s` follows it\n", r.Message, r.JobId)
			return err
		})
	}
	if !c.asJSON && !c.quiet {
		fmt.Fprintln(c.stderr, reply.Message)
	}
	j, err := c.awaitJob(ctx, k, &messages.JobRequest{JobId: reply.JobId, Host: reply.Host})
	if err != nil {
		return err
	}
	if err := show(c, j, c.printJob); err != nil {
		return err
	}
	return jobEnd(j)
}

// jobEnd is the error of a job that isn't completed.
func jobEnd(j *messages.LearningJob) error {
	switch j.Phase {
	case messages.JobView_failed.String():
		return messages.Errorf(messages.JobError, "job "+j.JobId, "it has failed: %s", j.GetErrorMessage().GetValue()).WithHint("`modelops jobs logs " + j.JobId + "` shows what its trainer wrote")
	case messages.JobView_cancelled.String():
		return messages.Errorf(messages.JobError, "job "+j.JobId, "it was cancelled: %s", j.GetErrorMessage().GetValue())
	}
	return nil
}

// awaitJob waits until a job has ended, and says on stderr how far it is. A daemon that restarts meanwhile is asked again.
func (c *cli) awaitJob(ctx context.Context, k *client, r *messages.JobRequest) (*messages.LearningJob, error) {
	bar := c.progress(r.JobId)
	defer bar.done()
	for answered := time.Now(); ; {
		j, err := c.jobNow(ctx, k, r)
		switch {
		case ctx.Err() != nil:
			return nil, messages.AsError(ctx.Err())
		case messages.CodeOf(err) == messages.Unavailable && time.Since(answered) < jobLost:
		case err != nil:
			return nil, err
		case j.EndedMs > 0:
			return j, nil
		default:
			answered = time.Now()
			bar.stage(jobLine(j))
			bar.at(int64(j.Step), int64(j.Total), false)
		}
		if !pause(ctx, watchEvery) {
			return nil, messages.AsError(ctx.Err())
		}
	}
}

// jobLost is how long a daemon may give no answer while the end of a job is awaited: it may restart.
const jobLost = time.Minute

func (c *cli) jobNow(ctx context.Context, k *client, r *messages.JobRequest) (*messages.LearningJob, error) {
	ctx, cancel := c.within(ctx, shortWait)
	defer cancel()
	return k.GetJob(ctx, r)
}

// jobLine is a job on a line that is written anew.
func jobLine(j *messages.LearningJob) string {
	text := j.JobId + " is " + j.Phase
	switch {
	case j.WaitsFor != "":
		text += ", " + where(j)
	case j.Phase == messages.JobView_running.String():
		if s := steps(j); s != "" {
			text += ", step " + s
		}
		if l := loss(j); l != "" {
			text += ", loss " + l
		}
		if e := eta(j); e != "" {
			text += ", " + e + " left"
		}
	}
	return text
}

func (c *cli) jobsWatchCommand() *cobra.Command {
	r := &messages.JobRequest{}
	cmd := &cobra.Command{
		Use: "watch [ID]", Args: cobra.MaximumNArgs(1),
		Short: "Follow a job until it ends, or all jobs",
		Long: "watch prints a line whenever a job's state or step changes, until the job has ended. Its exit code is that of submit --wait. Without ID it\n" +
			"follows all jobs until it is interrupted; `modelops watch --type job` shows their decisions.",
	}
	hostFlag(cmd, &r.Host, "the host on which it lives")
	cmd.RunE = act(func(ctx context.Context, args []string) error {
		k, err := c.dialLogs(ctx)
		if err != nil {
			return err
		}
		defer k.close()
		if len(args) == 1 {
			r.JobId = args[0]
		}
		return c.watchJobs(ctx, k, r)
	})
	return cmd
}

// watchJobs prints what changes of a job until it has ended, or of all.
func (c *cli) watchJobs(ctx context.Context, k *client, r *messages.JobRequest) error {
	said := map[string]string{}
	for answered := time.Now(); ; {
		jobs, err := c.jobsNow(ctx, k, r)
		switch {
		case ctx.Err() != nil:
			return messages.AsError(ctx.Err())
		case err != nil && (messages.CodeOf(err) != messages.Unavailable || time.Since(answered) > jobLost):
			return err
		case err == nil:
			answered = time.Now()
		}
		for _, j := range jobs {
			key := j.Host + "/" + j.JobId
			now := j.Phase + strconv.FormatUint(j.Step, 10) + j.WaitsFor
			if said[key] == now || said[key] == "" && r.JobId == "" && j.EndedMs > 0 {
				said[key] = now
				continue
			}
			said[key] = now
			if err := c.printJobChange(j); err != nil {
				return err
			}
		}
		if r.JobId != "" && len(jobs) == 1 && jobs[0].EndedMs > 0 {
			return jobEnd(jobs[0])
		}
		if !pause(ctx, watchEvery) {
			return messages.AsError(ctx.Err())
		}
	}
}

func (c *cli) jobsNow(ctx context.Context, k *client, r *messages.JobRequest) ([]*messages.LearningJob, error) {
	if r.JobId != "" {
		j, err := c.jobNow(ctx, k, r)
		if err != nil {
			return nil, err
		}
		return []*messages.LearningJob{j}, nil
	}
	ctx, cancel := c.within(ctx, shortWait)
	defer cancel()
	l, err := k.ListJobs(ctx, &messages.JobsRequest{Host: r.Host, Limit: 200})
	return l.GetJobs(), err
}

func (c *cli) printJobChange(j *messages.LearningJob) error {
	if c.asJSON {
		return printJSONLine(c.stdout, compact(j))
	}
	text := jobLine(j)
	if w := where(j); j.EndedMs > 0 && w != "" {
		text += ": " + w
	}
	_, err := fmt.Fprintf(c.stdout, "%s  %s\n", c.now().Format(time.TimeOnly), text)
	return err
}
