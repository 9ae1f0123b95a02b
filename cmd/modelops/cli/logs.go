package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"modelops/bridges/process"
	"modelops/messages"
)

func (c *cli) logsCommand() *cobra.Command {
	var n int
	var follow bool
	var host string
	cmd := &cobra.Command{
		Use: "logs MODEL", Args: cobra.ExactArgs(1),
		Short: "Print the output of a model's latest worker, running or not",
		Long: "logs prints what the latest worker of a model wrote. The host that ran it answers, from any host of the cluster; --host or HOST/MODEL says which\n" +
			"one is meant when several have the model. With --data-dir the files of a stopped daemon are read.",
		Example:           "  modelops logs tiny\n  modelops logs tiny -f --host pc2",
		ValidArgsFunction: c.completeModels(1),
	}
	cmd.Flags().IntVarP(&n, "lines", "n", 100, "number of lines")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "keep printing new output, also of the next worker")
	hostFlag(cmd, &host, "the worker of this host")
	cmd.RunE = act(func(ctx context.Context, args []string) error {
		if n < 0 {
			return messages.NewError(messages.InvalidArgument, "--lines", "it is negative")
		}
		k, err := c.dialLogs(ctx)
		switch {
		case err == nil:
			defer k.close()
			return c.printLog(ctx, k, &messages.LogRequest{ModelName: args[0], Host: host, Lines: uint32(n)}, follow)
		case c.dataDir == "" || c.named() != "" || messages.CodeOf(err) != messages.Unavailable:
			e := messages.AsError(err)
			return e.WithHint(e.Hint + "; --data-dir DIR reads the logs of a stopped one")
		case host != "":
			return messages.AsError(err).WithHint("without a daemon only the logs of this host can be read: leave --host out")
		}
		return c.printLogFile(ctx, args[0], n, follow)
	})
	return cmd
}

func (c *cli) dialLogs(ctx context.Context) (*client, error) {
	ctx, cancel := c.within(ctx, shortWait)
	defer cancel()
	return c.dial(ctx)
}

// printLog prints the end of a log that a daemon reads. To follow it is to print what comes, until ctx ends or the daemon gives no answer.
func (c *cli) printLog(ctx context.Context, k *client, r *messages.LogRequest, follow bool) error {
	page, err := c.logPage(ctx, k, r)
	if err != nil {
		return err
	}
	if err := c.printLogEnd(page.Lines, page.Unfinished, int(r.Lines), follow); err != nil || !follow {
		return err
	}
	r.ModelName, r.Host = page.ModelName, page.Host // a model that moves has another log there
	for answered := time.Now(); ; {
		r.After, r.WaitMs = page.Next, uint32(watchWait.Milliseconds())
		next, err := c.logPage(ctx, k, r)
		switch {
		case ctx.Err() != nil:
			return messages.AsError(ctx.Err())
		case messages.CodeOf(err) == messages.Unavailable && time.Since(answered) < watchLost:
			if !pause(ctx, watchAgain) {
				return messages.AsError(ctx.Err())
			}
			continue
		case err != nil:
			return err
		}
		answered, page = time.Now(), next
		if err := c.printLogLines(page.Lines); err != nil {
			return err
		}
	}
}

// logPage asks for a part of a log.
func (c *cli) logPage(ctx context.Context, k *client, r *messages.LogRequest) (*messages.LogPage, error) {
	ctx, cancel := c.within(ctx, time.Duration(r.WaitMs)*time.Millisecond+shortWait)
	defer cancel()
	return k.ReadLog(ctx, r)
}

// printLogEnd prints the last n lines of a log. The one that its worker hasn't ended counts too, unless what follows brings it whole.
func (c *cli) printLogEnd(lines []string, unfinished string, n int, follow bool) error {
	if !follow && unfinished != "" {
		lines = append(lines, unfinished)
	}
	return c.printLogLines(lines[max(0, len(lines)-n):])
}

func (c *cli) printLogLines(lines []string) error {
	for _, line := range lines {
		if err := c.printLogLine(line); err != nil {
			return err
		}
	}
	return nil
}

const logChangeEvery = 100 * time.Millisecond

// printLogFile reads the files of this host, while no daemon runs. Its workers may run on.
func (c *cli) printLogFile(ctx context.Context, model string, n int, follow bool) error {
	p, err := c.findPlace()
	if err != nil {
		return err
	}
	logs := process.Logs{Root: filepath.Join(p.dataDir, "logs")}
	part, err := logs.Read(model, "", n)
	switch {
	case err != nil:
		return err
	case part.Log == "":
		return messages.NewError(messages.NotFound, "model "+model, "it has no log, because no worker of it has run here").WithHint("`modelops load " + model + "` starts one")
	}
	if err := c.printLogEnd(part.Lines, part.Unfinished, n, follow); err != nil || !follow {
		return err
	}
	for {
		if len(part.Lines) == 0 && !pause(ctx, logChangeEvery) {
			return messages.AsError(ctx.Err())
		}
		if part, err = logs.Read(model, part.Next, 0); err != nil {
			return err
		}
		if err := c.printLogLines(part.Lines); err != nil {
			return err
		}
	}
}

func (c *cli) printLogLine(line string) error {
	if c.asJSON {
		return printJSONLine(c.stdout, map[string]string{"line": line})
	}
	_, err := fmt.Fprintln(c.stdout, line)
	return err
}
