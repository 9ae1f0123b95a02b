package cli

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"modelops/bridges/engine"
	"modelops/messages"
)

// workerCommand runs the embedded engine as a process. The daemon starts it like any other engine.
func (c *cli) workerCommand() *cobra.Command {
	var o engine.Options
	cmd := &cobra.Command{
		Use: "worker", Hidden: true, Args: cobra.NoArgs,
		Short: "Serve one GGUF model over HTTP, as the daemon's child",
		RunE: func(cmd *cobra.Command, _ []string) error {
			signal.Ignore(syscall.SIGHUP) // a worker outlives the daemon and its terminal
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, os.Interrupt)
			defer stop()
			return typed(c.work(ctx, o))
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.ModelPath, "model", "", "GGUF file")
	f.StringVar(&o.Alias, "alias", "", "the model's name in answers")
	f.StringVar(&o.Host, "host", "127.0.0.1", "address to listen on")
	f.IntVar(&o.Port, "port", 0, "port to listen on; 0 picks one")
	f.IntVar(&o.Slots, "slots", 0, "number of requests that can run at the same time")
	f.IntVar(&o.Threads, "threads", 0, "number of requests that compute at the same time; 0 is one per core")
	f.IntVar(&o.ContextLength, "ctx", 0, "tokens per slot; 0 is the model's own")
	f.DurationVar(&o.LoadDelay, "load-delay", 0, "minimum time that loading takes (for tests)")
	f.DurationVar(&o.TokenDelay, "token-delay", 0, "pause before each token (for tests)")
	f.IntVar(&o.HangAfter, "hang-after", 0, "generation hangs after this many tokens (for tests)")
	_ = cmd.MarkFlagRequired("model")
	return cmd
}

func (c *cli) work(ctx context.Context, o engine.Options) error {
	o.Logger = slog.New(slog.NewTextHandler(c.stderr, nil))
	if err := engine.Serve(ctx, o); err != nil {
		return messages.Errorf(messages.ModelLoadError, o.ModelPath, "%w", err)
	}
	return nil
}
