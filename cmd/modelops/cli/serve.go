package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"modelops/bridges/config"
	"modelops/messages"
)

func (c *cli) serveCommand() *cobra.Command {
	var host, question string
	var watch bool
	cmd := &cobra.Command{
		Use: "serve", Args: cobra.NoArgs,
		Short: "Run the daemon of this host",
		Long: "serve runs the daemon of this host in the foreground. SIGINT or SIGTERM stops it well: running requests finish within\n" +
			"server.drain_timeout, the journal is closed, the workers end. A second signal ends it at once; nothing acknowledged is lost.\n" +
			"SIGHUP applies a changed configuration. SIGUSR2 (modelops upgrade) replaces the program and keeps the workers.",
		Example: "  modelops serve\n  modelops serve --config cluster.yaml --ask \"What is the capital of France?\"",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return typed(c.serve(cmd.Context(), host, question, watch))
		},
	}
	cmd.Flags().StringVar(&host, "host", "", "name of this host (MOC_HOST; default: the configuration's)")
	cmd.Flags().StringVar(&question, "ask", "", "ask the first preloaded model this once it is ready, and go on")
	cmd.Flags().BoolVar(&watch, "watch-config", false, "apply the configuration whenever its file changes, as SIGHUP does")
	return cmd
}

// collectAt lets the heap grow to four times what is live before it is collected: with the 5 MB of a daemon at rest the default collects
// some hundred times a second under load, which took a fifth of its time. GOGC overrides it.
const collectAt = 300

func (c *cli) serve(ctx context.Context, host, question string, watch bool) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, upgradeSignal)
	defer signal.Stop(signals)
	self, err := os.Executable() // now: after an upgrade of the file the kernel calls this one deleted
	if err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	cfg, err := c.loadConfig(host)
	if err != nil {
		return err
	}
	log, err := c.program.Logger(c.stderr, cfg.Log.Level, cfg.Log.Format)
	if err != nil {
		return err
	}
	for _, n := range cfg.Notices() {
		log.Warn(n)
	}
	began := time.Now()
	reread := func() (*config.Config, error) { return c.loadConfig(host) }
	d, err := c.startUnlessTold(ctx, cfg, log, reread, signals)
	if err != nil {
		return err
	}
	c.sayStarted(d, cfg, time.Since(began))
	ctx, cancel := context.WithCancelCause(ctx)
	asked := make(chan struct{})
	go func() { defer close(asked); c.firstSteps(ctx, d, cfg.Models.Preload, question) }()
	hups := make(chan os.Signal, 1)
	signal.Notify(hups, syscall.SIGHUP)
	defer signal.Stop(hups)
	followed := make(chan struct{})
	go func() { defer close(followed); d.FollowConfig(ctx, hups, c.watched(watch)) }()
	got := <-signals
	cancel(messages.NewError(messages.Cancelled, "", "the daemon is stopping"))
	<-asked
	<-followed
	if got == upgradeSignal {
		return c.becomeAnew(d, log, self, cfg.Server.DrainTimeout)
	}
	c.say("%s: stopping, running requests have %s to finish; once more ends at once", got, cfg.Server.DrainTimeout)
	return c.stopServing(d, cfg.Server.DrainTimeout, signals)
}

// startUnlessTold starts the daemon; a signal gives the start up.
func (c *cli) startUnlessTold(ctx context.Context, cfg *config.Config, log *slog.Logger, reread func() (*config.Config, error), signals <-chan os.Signal) (Daemon, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	started, watched := make(chan struct{}), make(chan bool, 1)
	go func() {
		select {
		case <-signals:
			cancel()
			watched <- true
		case <-started:
			watched <- false
		}
	}()
	d, err := c.program.Start(ctx, cfg, log, reread)
	close(started)
	if told := <-watched; !told {
		return d, err
	}
	if err == nil {
		err = d.Stop(context.WithoutCancel(ctx))
	}
	log.Info("told to stop while starting", "error", err)
	return nil, quietExit(exitOK)
}

// say writes a line for whoever started the daemon. The log goes to stderr.
func (c *cli) say(format string, args ...any) { fmt.Fprintf(c.stdout, format+"\n", args...) }

func (c *cli) sayStarted(d Daemon, cfg *config.Config, took time.Duration) {
	a := d.Addresses()
	file := c.configFile()
	if file == "" {
		file = "the built-in configuration"
	}
	c.say("modelops %s, host %s, by %s", c.program.Version, a.Host, file)
	c.say("journal  %s, %d decisions", cfg.Journal.Dir, d.Decisions())
	for _, g := range d.Devices() {
		c.say("device   %s, %s, %s for models", g.Device, deviceName(g), messages.FormatBytes(g.LimitBytes))
	}
	c.say("HTTP     %s", a.HTTP)
	c.say("gRPC     %s", a.GRPC)
	c.say("NATS     %s", a.NATS)
	c.say("started in %s", took.Round(time.Millisecond))
}

// firstSteps tells how the preloads went and asks the question.
func (c *cli) firstSteps(ctx context.Context, d Daemon, preload []config.Preload, question string) {
	for _, p := range preload {
		v, err := d.AwaitLoad(ctx, p.Name)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			c.say("%s: %v", p.Name, err)
		case v.Phase == "ready":
			c.say("%s is ready: %s on %s, loaded in %s", p.Name, messages.FormatBytes(v.MeasuredBytes), v.GetPlacement().GetGpu(), lasting(time.Duration(v.LoadMs)*time.Millisecond))
		default:
			c.say("%s is %s: %s", p.Name, v.Phase, v.Error.GetMessage())
		}
	}
	if question != "" {
		c.askOnce(ctx, d, preload, question)
	}
}

// askOnce sends one inference the way that every request goes.
func (c *cli) askOnce(ctx context.Context, d Daemon, preload []config.Preload, question string) {
	if len(preload) == 0 {
		c.say("there is no preloaded model to ask")
		return
	}
	model := preload[0].Name
	zero := float32(0)
	r, err := d.Infer(ctx, &messages.InferenceRequest{ModelName: model, Prompt: question, Temperature: &zero, RequestId: uuid.NewString()})
	if err != nil {
		if ctx.Err() == nil {
			explain(c.stdout, messages.AsError(err))
		}
		return
	}
	c.say("\n> %s\n%s\n(%s, %d tokens in %s)\n", question, strings.TrimSpace(r.ResponseText), model, r.TokensGenerated,
		lasting(time.Duration(r.InferenceTimeMs)*time.Millisecond))
}

// stopServing gives the daemon its time; a second signal takes it away.
func (c *cli) stopServing(d Daemon, patience time.Duration, signals <-chan os.Signal) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- d.Stop(ctx) }()
	select {
	case err := <-done:
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		if err != nil {
			c.say("stopped; some requests had to be cut off")
			return nil
		}
		c.say("stopped")
		return nil
	case <-signals:
		return quietExit(exitInterrupted)
	}
}
