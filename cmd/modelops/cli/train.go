package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"modelops/bridges/engine/train"
	"modelops/messages"
)

func (c *cli) trainCommand() *cobra.Command {
	o := train.Defaults()
	cmd := &cobra.Command{
		Use: "train --base FILE --data FILE --out FILE", Args: cobra.NoArgs,
		Short: "Fine-tune a small model on this machine's processor",
		Long: "train learns from chats or preference pairs and writes a GGUF file. It needs no daemon. It prints one JSON object a line: start, eval,\n" +
			"progress, checkpoint, resumed, warning, and at last done, stopped or error.\n\n" +
			"SIGUSR1, or a line `checkpoint` on its standard input, asks for a checkpoint after the present step. SIGTERM ends the run after the present step with\n" +
			"a checkpoint and exit code 75; with --resume auto the same command continues it, and yields the same file as if it had never been stopped.",
		Example: "  modelops train --base tiny.gguf --data chats.jsonl --eval held-out.jsonl --out tuned.gguf\n" +
			"  modelops train --base tiny.gguf --data chats.jsonl --out tuned.gguf --method lora --rank 8 --checkpoints run1 --resume auto\n" +
			"  modelops train --base tiny.gguf --data pairs.jsonl --out tuned.gguf --method dpo --beta 0.1",
	}
	f := cmd.Flags()
	f.StringVar(&o.Base, "base", "", "GGUF file to start from")
	f.StringVar(&o.Data, "data", "", "rows to learn, JSON lines")
	f.StringVar(&o.Eval, "eval", "", "held-out rows, scored before the first step and after the last")
	f.StringVar(&o.Out, "out", "", "GGUF file to write")
	f.StringVar(&o.Method, "method", o.Method, "full (all weights), lora (adapters, merged into the file) or dpo (preference pairs)")
	f.IntVar(&o.Steps, "steps", o.Steps, "number of steps")
	f.IntVar(&o.Batch, "batch", o.Batch, "rows or pairs a step")
	f.IntVar(&o.MicroBatch, "micro-batch", 0, "rows computed at the same time (default: as many as have about 4096 tokens)")
	f.Float64Var(&o.LR, "lr", 0, "highest learning rate (default: full 5e-4, lora 5e-3, dpo 1e-4)")
	f.StringVar(&o.Schedule, "schedule", o.Schedule, "how the rate falls to a tenth: linear or cosine; constant keeps it")
	f.IntVar(&o.Warmup, "warmup", o.Warmup, "steps over which the rate rises")
	f.Float64Var(&o.WeightDecay, "weight-decay", 0, "decay of matrices, a step, times the rate")
	f.Float64Var(&o.Clip, "clip", o.Clip, "longest gradient; 0 is any")
	f.IntVar(&o.Rank, "rank", 0, "rank of the adapters (default: lora 8; dpo trains all weights)")
	f.Float64Var(&o.Alpha, "alpha", o.Alpha, "adapters count alpha/rank times")
	f.StringSliceVar(&o.Targets, "targets", nil, "matrices that get adapters (default: "+strings.Join(train.Targets, ",")+")")
	f.Float64Var(&o.Beta, "beta", o.Beta, "how firmly dpo holds to the model it started from")
	f.Uint64Var(&o.Seed, "seed", o.Seed, "seed of the order of rows and of the adapters")
	f.IntVar(&o.Threads, "threads", 0, "number of threads, which changes no bit of the result (default: one per core)")
	f.StringVar(&o.Checkpoints, "checkpoints", "", "directory of checkpoints (default: none are written)")
	f.IntVar(&o.CheckpointEvery, "checkpoint-every", o.CheckpointEvery, "steps from one checkpoint to the next")
	f.IntVar(&o.Keep, "keep", o.Keep, "number of checkpoints that stay")
	f.StringVar(&o.Resume, "resume", "", "checkpoint to continue from; auto: the latest of --checkpoints, if there is one")
	f.IntVar(&o.MaxLength, "max-length", 0, "tokens a row may have (default: the model's context)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return typed(c.train(cmd.Context(), o))
	}
	return cmd
}

func (c *cli) train(ctx context.Context, o train.Options) error {
	ctx, stop := trainerSignals(ctx)
	defer stop()
	usr1, save := make(chan os.Signal, 1), make(chan struct{}, 1)
	signal.Notify(usr1, syscall.SIGUSR1)
	defer signal.Stop(usr1)
	ctx, end := context.WithCancel(ctx) // ends the goroutine below with the run
	defer end()
	go func() {
		for {
			select {
			case <-usr1:
				ask(save)
			case <-ctx.Done():
				return
			}
		}
	}()
	if !terminal(c.stdin) { // a program that reads a terminal from the background is stopped by it
		go askedByLines(c.stdin, save)
	}
	o.Report, o.Save = train.Lines(c.stdout), save
	return trainerError(train.Run(ctx, o))
}

// trainerSignals ends ctx when the trainer has to stop. A second interrupt ends the process at once. A reader of its lines that
// has gone away doesn't end it: what was trained is in its files.
func trainerSignals(ctx context.Context) (context.Context, func()) {
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGHUP, os.Interrupt)
	after := context.AfterFunc(ctx, func() { signal.Reset(os.Interrupt) })
	return ctx, func() { after(); stop() }
}

func ask(save chan<- struct{}) {
	select {
	case save <- struct{}{}:
	default: // one is asked for already
	}
}

// askedByLines asks for a checkpoint at each line that says so. Other lines mean nothing.
func askedByLines(in io.Reader, save chan<- struct{}) {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if strings.TrimSpace(lines.Text()) == "checkpoint" {
			ask(save)
		}
	}
}

// trainerError gives a trainer's error its code, and so its exit code.
func trainerError(err error) error {
	var input *train.InputError
	var room *train.NoRoomError
	var memory *train.NoMemoryError
	var busy *train.BusyError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, train.ErrStopped):
		return quietExit(exitStopped)
	case errors.Is(err, context.Canceled):
		return quietExit(exitInterrupted)
	case errors.As(err, &input):
		return messages.NewError(messages.InvalidArgument, input.Subject, input.Message).WithHint(input.Hint)
	case errors.As(err, &room):
		return messages.Errorf(messages.FailedPrecondition, "", "%w", err).WithHint("free some of the disk, write somewhere else, or keep fewer checkpoints with --keep")
	case errors.As(err, &memory):
		return messages.Errorf(messages.FailedPrecondition, "", "%w", err).WithHint("adapters need less: --method lora")
	case errors.As(err, &busy):
		return messages.Errorf(messages.Conflict, "", "%w", err).WithHint("wait for it to end, or give --checkpoints another directory")
	case errors.Is(err, fs.ErrNotExist):
		return messages.Errorf(messages.NotFound, "", "%w", err)
	}
	return messages.Errorf(messages.JobError, "", "%w", err)
}

func (c *cli) evaluateCommand() *cobra.Command {
	var o train.EvalOptions
	cmd := &cobra.Command{
		Use: "evaluate --model FILE --data FILE", Args: cobra.NoArgs,
		Short: "Score a small model on held-out chats, on this machine's processor",
		Long: "evaluate computes the loss of the answers (nats a token), its perplexity, and the share of rows whose answer at temperature 0 is the reference\n" +
			"after trimming. It needs no daemon. It prints one JSON line, or words on a terminal.",
		Example: "  modelops evaluate --model tuned.gguf --data held-out.jsonl",
	}
	f := cmd.Flags()
	f.StringVar(&o.Model, "model", "", "GGUF file")
	f.StringVar(&o.Data, "data", "", "held-out rows, JSON lines")
	f.IntVar(&o.Limit, "limit", 0, "score only so many rows, from the beginning")
	f.IntVar(&o.Threads, "threads", 0, "number of threads (default: one per core)")
	f.IntVar(&o.MaxLength, "max-length", 0, "tokens a row may have (default: the model's context)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return typed(c.evaluate(cmd.Context(), o))
	}
	return cmd
}

func (c *cli) evaluate(ctx context.Context, o train.EvalOptions) error {
	ctx, stop := trainerSignals(ctx)
	defer stop()
	words := terminal(c.stdout) && !c.asJSON
	report := train.Lines(c.stdout)
	if words {
		report = func(any) {}
	}
	s, err := train.EvaluateReporting(ctx, o, report)
	if err != nil || !words {
		return trainerError(err)
	}
	return c.rows(scoreRows(s))
}

func scoreRows(s train.Scores) [][2]string {
	return [][2]string{
		{"rows", fmt.Sprintf("%d, with %d tokens of answers", s.Rows, s.Tokens)},
		{"loss", fmt.Sprintf("%.4f nats a token", s.Loss)},
		{"perplexity", fmt.Sprintf("%.4g", s.Perplexity)},
		{"exact", fmt.Sprintf("%.0f of %d", s.Exact*float64(s.Rows), s.Rows)},
	}
}
