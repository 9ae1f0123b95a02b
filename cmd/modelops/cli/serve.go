package cli

import (
	"cmp"
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
	var o serving
	cmd := &cobra.Command{
		Use: "serve", Args: cobra.NoArgs,
		Short: "Run the daemon of this host",
		Long: "serve runs the daemon of this host in the foreground. SIGINT or SIGTERM stops it: running requests get server.drain_timeout to finish, then\n" +
			"the journal is closed and the workers are stopped. A second signal ends it at once; no acknowledged decision is lost. SIGHUP applies a\n" +
			"changed configuration. SIGUSR2 (`modelops upgrade`) replaces the program and keeps the workers running.\n\n" +
			"With --standby a second daemon waits on the same data directory. When the active one ends, or answers nothing for\n" +
			"--standby-kill-after, it takes over journal, doors and workers; no model is loaded again.",
		Example: "  modelops serve\n  modelops serve --config cluster.yaml --ask \"What is the capital of France?\"",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return typed(c.serve(cmd.Context(), o))
		},
	}
	cmd.Flags().StringVar(&o.host, "host", "", "name of this host (MOC_HOST; default: the configuration's)")
	cmd.Flags().StringVar(&o.question, "ask", "", "send this prompt to the first preloaded model when it is ready, and keep running")
	cmd.Flags().BoolVar(&o.watch, "watch-config", false, "apply the configuration whenever its file changes")
	cmd.Flags().StringVar(&o.join, "join", "", "address of a member: become a member of its cluster before serving, by --token. A host that has joined just serves")
	cmd.Flags().StringVar(&o.token, "token", "", "what modelops cluster invite printed on that member")
	cmd.Flags().BoolVar(&o.standby, "standby", false, "wait while another daemon uses the data directory, and take its place when it ends")
	cmd.Flags().DurationVar(&o.killAfter, "standby-kill-after", 10*time.Second, "end a daemon that answers nothing for so long; 0 is never")
	return cmd
}

// serving are the flags of serve.
type serving struct {
	host, question string
	join, token    string
	watch, standby bool
	killAfter      time.Duration
}

// collectAt is the GOGC of the daemon, unless the environment sets one: the heap grows to four times its live size before it is collected.
// An idle daemon has 5 MB of live heap; with the default, collections ran some hundred times a second under load and took a fifth of the
// CPU time.
const collectAt = 300

func (c *cli) serve(ctx context.Context, o serving) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, upgradeSignal)
	defer signal.Stop(signals)
	self, err := os.Executable() // before the file is replaced: the kernel then reports its path as deleted
	if err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	cfg, err := c.loadConfig(o.host)
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
	if err := c.joinFirst(ctx, cfg, o); err != nil {
		return err
	}
	began := time.Now()
	reread := func() (*config.Config, error) { return c.loadConfig(o.host) }
	d, err := c.startUnlessSignalled(ctx, log, signals, func(ctx context.Context) (Daemon, error) {
		start := func() (Daemon, error) { return c.program.Start(ctx, cfg, log, reread) }
		if !o.standby {
			return start()
		}
		return c.standBy(ctx, &standby{cfg: cfg, log: log, killAfter: o.killAfter}, start)
	})
	if err != nil {
		return err
	}
	c.sayStarted(d, cfg, time.Since(began))
	ctx, cancel := context.WithCancelCause(ctx)
	asked := make(chan struct{})
	go func() { defer close(asked); c.firstSteps(ctx, d, cfg.Models.Preload, o.question) }()
	hups := make(chan os.Signal, 1)
	signal.Notify(hups, syscall.SIGHUP)
	defer signal.Stop(hups)
	followed := make(chan struct{})
	go func() { defer close(followed); d.FollowConfig(ctx, hups, c.watched(o.watch)) }()
	got := <-signals
	cancel(messages.NewError(messages.Cancelled, "", "the daemon is stopping"))
	<-asked
	<-followed
	if got == upgradeSignal {
		return c.replaceProcess(d, log, self, cfg.Server.DrainTimeout)
	}
	c.say("%s: stopping, running requests have %s to finish; a second signal ends at once", got, cfg.Server.DrainTimeout)
	return c.stopServing(d, cfg.Server.DrainTimeout, signals)
}

// startUnlessSignalled starts the daemon; a signal ends the start.
func (c *cli) startUnlessSignalled(ctx context.Context, log *slog.Logger, signals <-chan os.Signal, start func(context.Context) (Daemon, error)) (Daemon, error) {
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
	d, err := start(ctx)
	close(started)
	if told := <-watched; !told {
		return d, err
	}
	if err == nil {
		err = d.Stop(context.WithoutCancel(ctx))
	}
	log.Info("a signal ended the start", "error", err)
	return nil, quietExit(exitOK)
}

// say prints a line on stdout for the user who started the daemon. The log goes to stderr.
func (c *cli) say(format string, args ...any) { fmt.Fprintf(c.stdout, format+"\n", args...) }

func (c *cli) sayStarted(d Daemon, cfg *config.Config, took time.Duration) {
	a := d.Addresses()
	c.say("modelops %s, host %s, configuration %s", c.program.Version, a.Host, cmp.Or(c.configFile(), "built-in"))
	c.say("journal  %s, %d decisions", cfg.Journal.Dir, d.Decisions())
	for _, g := range d.Devices() {
		if g.Lost {
			c.say("device   %s, %s can't be used: %s", g.Device, deviceName(g), g.LostReason)
			continue
		}
		c.say("device   %s, %s, %s for models", g.Device, deviceName(g), messages.FormatBytes(g.LimitBytes))
	}
	c.say("HTTP     %s", a.HTTP)
	c.say("gRPC     %s", a.GRPC)
	c.say("NATS     %s", a.NATS)
	c.say("started in %s", took.Round(time.Millisecond))
}

// firstSteps waits for the preloaded models, prints the result of each, and asks the question.
func (c *cli) firstSteps(ctx context.Context, d Daemon, preload []config.Preload, question string) {
	for _, p := range preload {
		v, err := d.AwaitLoad(ctx, p.Name)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			c.say("%s: %v", p.Name, err)
		case v.Phase == messages.ModelView_ready:
			c.say("%s is ready: %s on %s, loaded in %s", p.Name, messages.FormatBytes(v.MeasuredBytes), v.GetPlacement().Gpu(), lasting(time.Duration(v.LoadMs)*time.Millisecond))
		default:
			c.say("%s is %s: %s", p.Name, v.Phase, v.Error.GetMessage())
		}
	}
	if question != "" {
		c.askOnce(ctx, d, preload, question)
	}
}

// askOnce sends one inference through the gateway, like every other request.
func (c *cli) askOnce(ctx context.Context, d Daemon, preload []config.Preload, question string) {
	if len(preload) == 0 {
		c.say("--ask: there is no preloaded model")
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

// stopServing stops the daemon and gives it patience to finish its requests; a second signal ends the wait.
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
			c.say("stopped; some requests did not finish in time")
			return nil
		}
		c.say("stopped")
		return nil
	case <-signals:
		return quietExit(exitInterrupted)
	}
}
