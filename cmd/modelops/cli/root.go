package cli

import (
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"modelops/messages"
)

// cli is what all commands share: the program they belong to, where they read and write, and the global flags.
type cli struct {
	program        Program
	stdin          io.Reader
	stdout, stderr io.Writer
	now            func() time.Time

	server    string        // --server
	config    string        // --config
	dataDir   string        // --data-dir
	asJSON    bool          // --json
	noColor   bool          // --no-color
	manyHosts bool          // decisions of several hosts are printed
	tls       bool          // --tls
	ca        string        // --ca
	cert      string        // --cert
	key       string        // --cert-key
	timeout   time.Duration // --timeout; 0 = the command's own
	quiet     bool          // --quiet

	warned bool // that the configuration can't be used
}

func newRoot(c *cli) *cobra.Command {
	var version bool
	root := &cobra.Command{
		Use:   "modelops",
		Short: "Run AI models on the devices of your hosts",
		Long: "modelops loads and unloads models as supervised worker processes and routes inference requests to them. It records every decision in a\n" +
			"journal and can explain each of them.\n\n" +
			"Start with `modelops serve`; then try `modelops infer tiny \"What is the capital of France?\"`",
		SilenceErrors: true, SilenceUsage: true,
		Args: cobra.NoArgs,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if c.timeout < 0 {
				return messages.NewError(messages.InvalidArgument, "--timeout", "it is negative").WithHint("leave it out for the default")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if version {
				return typed(c.printVersion())
			}
			return cmd.Help()
		},
	}
	root.Flags().BoolVar(&version, "version", false, "print this program's version")
	root.SetIn(c.stdin)
	root.SetOut(c.stdout)
	root.SetErr(c.stderr)
	f := root.PersistentFlags()
	f.StringVar(&c.server, "server", "", "address of the daemon, such as https://HOST:8008 or tls://HOST:4222 (MODELOPS_SERVER; default: the daemon of the data directory)")
	f.StringVar(&c.config, "config", "", "configuration file (default: cluster.yaml in the working directory, otherwise the built-in one)")
	f.StringVar(&c.dataDir, "data-dir", "", "directory of the journal and the logs (default: data_dir of the configuration)")
	f.BoolVar(&c.tls, "tls", false, "speak TLS with the daemon (also: a --server that begins with tls://)")
	f.StringVar(&c.ca, "ca", "", "CA of a daemon on another machine, PEM (MODELOPS_CA; default: the system's)")
	f.StringVar(&c.cert, "cert", "", "certificate to show to the daemon, PEM (MODELOPS_CERT)")
	f.StringVar(&c.key, "cert-key", "", "its key (MODELOPS_CERT_KEY; default: the certificate's name with .key)")
	f.BoolVar(&c.asJSON, "json", false, "print JSON: one document, or one line for each item of a stream")
	f.BoolVarP(&c.quiet, "quiet", "q", false, "show no progress")
	f.BoolVar(&c.noColor, "no-color", os.Getenv("NO_COLOR") != "", "no colours (NO_COLOR)")
	f.DurationVar(&c.timeout, "timeout", 0, "maximum time to wait for an answer (default: 10s, for loads and inference 10m)")
	root.AddGroup(&cobra.Group{ID: "run", Title: "Run:"}, &cobra.Group{ID: "models", Title: "Models and devices:"},
		&cobra.Group{ID: "look", Title: "Look inside:"}, &cobra.Group{ID: "setup", Title: "Set up:"})
	group := func(id string, commands ...*cobra.Command) {
		for _, cmd := range commands {
			cmd.GroupID = id
			root.AddCommand(cmd)
		}
	}
	group("run", c.serveCommand(), c.runCommand(), c.inferCommand(), c.chatCommand(), c.trainCommand(), c.evaluateCommand())
	group("models", c.psCommand(), c.modelsCommand(), c.loadCommand(), c.unloadCommand(), c.rmCommand(), c.showCommand(), c.swapCommand(), c.queueCommand(), c.pinCommand(), c.unpinCommand(), c.gpusCommand(), c.leaseCommand(), c.hintCommand(), c.defragCommand(), c.logsCommand(), c.jobsCommand(), c.goalsCommand(), c.lineageCommand())
	group("look", c.whyCommand(), c.statusCommand(), c.healthCommand(), c.stateCommand(), c.sendCommand(), c.watchCommand(), c.journalCommand(), c.restoreCommand(), c.replayCommand(), c.simulateCommand())
	group("setup", c.configCommand(), c.clusterCommand(), c.drainCommand(), c.keysCommand(), c.certsCommand(), c.upgradeCommand(), c.versionCommand())
	root.AddCommand(c.workerCommand(), c.runnerCommand(), c.guardCommand(), c.leaseExecCommand(), exitCodesTopic())
	root.SetCompletionCommandGroupID("setup")
	root.SetHelpCommandGroupID("setup")
	return root
}

// terminal reports whether w is a terminal.
func terminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (c *cli) coloured() bool { return !c.noColor && !c.asJSON && terminal(c.stdout) }
