package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"modelops/bridges/process"
	"modelops/messages"
)

// upgradeSignal makes a daemon stop, leave its workers running, and execute the program that is now at its path.
const upgradeSignal = syscall.SIGUSR2

// watched is the configuration file that serve watches; empty without --watch-config and with the built-in configuration.
func (c *cli) watched(watch bool) string {
	if !watch {
		return ""
	}
	return c.configFile()
}

// replaceProcess stops the daemon and replaces the process. The new program adopts the workers after the same checks as after a crash.
func (c *cli) replaceProcess(d Daemon, log *slog.Logger, self string, patience time.Duration) error {
	c.say("upgrade: running requests have %s to finish, the workers keep running", patience)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := d.Leave(ctx, "upgrade"); err != nil {
		log.Warn("the daemon didn't stop cleanly before its upgrade", "error", err)
	}
	err := syscall.Exec(self, os.Args, os.Environ())
	return messages.Errorf(messages.Internal, self, "the new program can't be started: %w", err).WithHint("start it by hand; the workers still run")
}

func (c *cli) upgradeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "upgrade", Args: cobra.NoArgs,
		Short: "Restart the running daemon with the program now at its path; models stay loaded",
		Long: "upgrade makes the running daemon finish its requests, stop, and execute the program that is now at the path it was started from. The\n" +
			"workers keep running and the new daemon adopts them; no model is unloaded. New requests are refused for less than a second.",
		RunE: act(func(ctx context.Context, _ []string) error {
			place, err := c.findPlace()
			if err != nil {
				return err
			}
			return c.upgrade(ctx, place)
		}),
	}
}

func (c *cli) upgrade(ctx context.Context, p place) error {
	before := p.daemon
	if before == nil {
		return messages.NewError(messages.Unavailable, p.dataDir, "no daemon runs on this data directory").WithHint("name it with --data-dir or --config")
	}
	running := process.Handle{Pid: int64(before.PID), StartTicks: before.Started, BootID: before.Kernel}
	if err := process.SignalSelf(running, upgradeSignal); err != nil {
		return messages.Errorf(messages.Unavailable, fmt.Sprint("pid ", before.PID), "the daemon that %s names can't be sent a signal: %w", AddressFile, err).
			WithHint("when the daemon has ended, start it: modelops serve; a daemon that was started by an older release is sent SIGUSR2 by hand")
	}
	return c.awaitBoot(ctx, p, before.Boot)
}

// awaitBoot waits until a daemon with another boot than old has written its addresses. Before that the file is missing or old.
func (c *cli) awaitBoot(ctx context.Context, p place, old string) error {
	ctx, cancel := c.within(ctx, longWait)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return messages.AsError(context.Cause(ctx))
		case <-tick.C:
		}
		if now, err := readAddresses(p.dataDir); err == nil && now != nil && now.Boot != old {
			fmt.Fprintf(c.stdout, "upgraded: pid %d, boot %s\n", now.PID, now.Boot)
			return nil
		}
	}
}
