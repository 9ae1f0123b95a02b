package main

import (
	"context"
	"log/slog"
	"os"

	"modelops/bridges/config"
	"modelops/bridges/telemetry"
	"modelops/cmd/modelops/cli"
	"modelops/messages"
)

func main() {
	program := cli.Program{Version: buildVersion(), Start: start, Logger: telemetry.NewLogger}
	os.Exit(cli.Run(context.Background(), program, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func start(ctx context.Context, cfg *config.Config, log *slog.Logger, reread func() (*config.Config, error)) (cli.Daemon, error) {
	d, err := startDaemon(ctx, cfg, log)
	if err != nil {
		return nil, err
	}
	d.reread = reread
	return serving{d}, nil
}

// serving is the daemon as the command line sees it.
type serving struct{ d *daemon }

func (s serving) Addresses() cli.Addresses     { return s.d.addresses() }
func (s serving) Decisions() uint64            { return s.d.journal.Sequence() }
func (s serving) Devices() []*messages.GpuView { return s.d.view.GPUs() }

func (s serving) AwaitLoad(ctx context.Context, model string) (*messages.ModelView, error) {
	return operations{s.d}.await(ctx, messages.ModelActor(s.d.host, model), func(v *messages.ModelView) bool {
		return v.Phase == messages.ModelView_ready || v.Phase == messages.ModelView_failed || !v.Wanted
	})
}

func (s serving) Infer(ctx context.Context, r *messages.InferenceRequest) (*messages.InferenceResponse, error) {
	return s.d.gateway.Infer(ctx, r, nil)
}

func (s serving) FollowConfig(ctx context.Context, signals <-chan os.Signal, path string) {
	s.d.followConfig(ctx, signals, path)
}

func (s serving) Stop(ctx context.Context) error                 { return s.d.stop(ctx) }
func (s serving) Leave(ctx context.Context, reason string) error { return s.d.leave(ctx, reason) }
