package main

import (
	"context"
	"io"
	"log/slog"
	"os"

	"google.golang.org/grpc/grpclog"

	"modelops/bridges/config"
	"modelops/bridges/telemetry"
	"modelops/cmd/modelops/cli"
	"modelops/messages"
)

func main() {
	program := cli.Program{Version: buildVersion(), Start: start, Advise: advise, Logger: telemetry.NewLogger, AskPeer: askPeer}
	os.Exit(cli.Run(context.Background(), program, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func start(ctx context.Context, cfg *config.Config, log *slog.Logger, reread func() (*config.Config, error)) (cli.Daemon, error) {
	// The libraries of gRPC and of its routes in HTTP would write to the terminal by themselves, and quote a caller's bytes as they are.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, slog.NewLogLogger(log.Handler(), slog.LevelDebug).Writer()))
	noCores(log)
	d, err := launch(ctx, cfg, reread, log, openDevices)
	if err != nil {
		return nil, err
	}
	return serving{d}, nil
}

// serving is the daemon as the command line sees it.
type serving struct{ d *daemon }

func (s serving) Addresses() cli.Addresses     { return s.d.addresses() }
func (s serving) Decisions() uint64            { return s.d.journal.Sequence() }
func (s serving) Devices() []*messages.GpuView { return s.d.view.ReadGPUs() }

func (s serving) AwaitLoad(ctx context.Context, model string) (*messages.ModelView, error) {
	return s.d.view.AwaitModel(ctx, messages.ModelActor(s.d.host, model), func(v *messages.ModelView) bool {
		return v.Phase == messages.ModelView_ready || v.Phase == messages.ModelView_failed || !v.Wanted
	})
}

func (s serving) Infer(ctx context.Context, r *messages.InferenceRequest) (*messages.InferenceResponse, error) {
	return s.d.gateway.Infer(ctx, r, nil)
}

func (s serving) FollowConfig(ctx context.Context, signals <-chan os.Signal, path string) {
	config.Follow(ctx, signals, path, s.d.reload)
}

// reload applies what the file says now. A bad file changes nothing, and says so once.
func (d *daemon) reload(ctx context.Context) {
	if d.certs != nil {
		d.certs.Look() // also when the configuration is what it was
	}
	done, err := d.control.ApplyConfig(ctx, &messages.ApplyConfigRequest{})
	if err != nil {
		d.log.Error("the configuration was not applied", "error", err)
		return
	}
	for _, what := range done.Refused {
		d.log.Error("the configuration rules, but this was refused", "error", what)
	}
	d.log.Info("configuration applied", "revision", done.Revision, "changes", done.Changes, "restart", done.Restart)
}

func (s serving) Stop(ctx context.Context) error { return s.d.stop(ctx) }
func (s serving) Leave(ctx context.Context, reason string) error {
	defer s.d.giveUp()
	return s.d.leave(ctx, reason)
}
