package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"modelops/bridges/config"
	"modelops/messages"
)

func (c *cli) configCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Check or apply the configuration", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(c.configCheckCommand(), c.configApplyCommand(), &cobra.Command{
		Use: "schema", Args: cobra.NoArgs,
		Short: "Print the JSON schema of configurations",
		RunE: act(func(context.Context, []string) error {
			_, err := c.stdout.Write(config.Schema())
			return err
		}),
	})
	return cmd
}

func (c *cli) configCheckCommand() *cobra.Command {
	var host string
	var show bool
	cmd := &cobra.Command{
		Use: "check [FILE]", Args: cobra.MaximumNArgs(1),
		Short: "Check a configuration file and list every mistake with its line",
		Long: "check reads a configuration as the daemon does, environment variables included, and lists every mistake. The exit code is 2 if there\n" +
			"is one.",
	}
	cmd.Flags().StringVar(&host, "host", "", "check it for this host")
	cmd.Flags().BoolVar(&show, "show", false, "print every effective setting and where it comes from")
	cmd.RunE = act(func(ctx context.Context, args []string) error {
		if len(args) == 1 {
			c.config = args[0]
		}
		cfg, err := c.loadConfig(host)
		var problems config.Problems
		if errors.As(err, &problems) {
			return c.printProblems(problems)
		}
		if err != nil {
			return err
		}
		var doubtful []string
		if c.program.Advise != nil {
			if problems, doubtful = c.program.Advise(ctx, cfg); len(problems) > 0 {
				for i := range problems {
					problems[i].Where = cmp.Or(c.configFile(), "the built-in configuration")
				}
				return c.printProblems(problems)
			}
		}
		return c.printChecked(cfg, doubtful, show)
	})
	return cmd
}

func (c *cli) configApplyCommand() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use: "apply", Args: cobra.NoArgs,
		Short: "Make the running daemon reload its configuration",
		Long: "apply makes the running daemon reload its configuration, as SIGHUP does, and prints what changed. Only models whose worker has to be\n" +
			"started differently drain and load again; running requests finish. A file with mistakes changes nothing. If one model refuses its\n" +
			"change, the other changes are made, the refusal is printed and the exit code is 5.",
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only print what would change")
	apply := c.asks(longWait, func(ctx context.Context, k *client, _ []string) error {
		answer, err := k.ApplyConfig(ctx, &messages.ApplyConfigRequest{DryRun: dry})
		if err != nil {
			return err
		}
		return c.printChanges(answer)
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c.warned = true // what is wrong with the file is the daemon's answer
		err := apply(cmd, args)
		if messages.CodeOf(err) == messages.Unavailable {
			c.warned = false
			_, _ = c.findPlace() // it says why the daemon wasn't found where the file says
		}
		return err
	}
	return cmd
}

func (c *cli) printChanges(answer *messages.ConfigChanges) error {
	if c.asJSON {
		if err := printProto(c.stdout, answer); err != nil {
			return err
		}
	} else {
		for _, line := range append(answer.Changes, answer.Restart...) {
			fmt.Fprintln(c.stdout, line)
		}
		if len(answer.Changes)+len(answer.Restart) == 0 {
			fmt.Fprintln(c.stdout, "nothing changes")
		}
	}
	for _, line := range answer.Refused {
		fmt.Fprintln(c.stderr, "refused: "+line)
	}
	if len(answer.Refused) > 0 {
		return quietExit(exitRefused)
	}
	return nil
}

// printProblems writes one mistake a line. They are the result of the command, not an error message.
func (c *cli) printProblems(problems config.Problems) error {
	if c.asJSON {
		var list []map[string]string
		for _, p := range problems {
			list = append(list, map[string]string{"where": p.Where, "path": p.Path, "what": p.What, "expected": p.Expected})
		}
		if err := printJSON(c.stdout, map[string]any{"valid": false, "problems": list}); err != nil {
			return err
		}
		return quietExit(exitUsage)
	}
	fmt.Fprintln(c.stderr, problems.Error())
	return quietExit(exitUsage)
}

func (c *cli) printChecked(cfg *config.Config, doubtful []string, show bool) error {
	notices := append(cfg.Notices(), doubtful...)
	if c.asJSON {
		out := map[string]any{"valid": true, "host": cfg.Host, "revision": cfg.Revision(), "notices": append([]string{}, notices...)}
		if show {
			var settings []map[string]string
			for _, s := range cfg.Explain() {
				settings = append(settings, map[string]string{"path": s.Path, "value": s.Value, "source": s.Source})
			}
			out["settings"] = settings
		}
		return printJSON(c.stdout, out)
	}
	for _, n := range notices {
		fmt.Fprintln(c.stderr, n)
	}
	if show {
		return cfg.Print(c.stdout)
	}
	file := c.configFile()
	if file == "" {
		file = "the built-in configuration"
	}
	if _, err := os.Stat(file); err == nil && len(cfg.Models.Declare) == 0 {
		fmt.Fprintln(c.stderr, file+": no model is declared")
	}
	fmt.Fprintf(c.stdout, "%s is valid: host %s, %d models, %d preloaded, revision %s\n", file, cfg.Host, len(cfg.Models.Declare), len(cfg.Models.Preload), cfg.Revision())
	return nil
}
