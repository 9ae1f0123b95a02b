package cli

import (
	"cmp"
	"context"
	"fmt"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"modelops/messages"
)

func (c *cli) pinCommand() *cobra.Command {
	var owner string
	var lasts time.Duration
	var host string
	cmd := &cobra.Command{
		Use: "pin MODEL", Args: cobra.ExactArgs(1),
		Short: "Protect a model from eviction, for a time or without end",
		Long: "pin protects a model from eviction and from being unloaded when idle, until its time is over or until `modelops unpin`. A model has one\n" +
			"pin; a new one replaces it. A pin doesn't load the model: if it isn't loaded, the pin takes effect with its next load.\n\n" +
			"`modelops models`, `ps` and `why` show pins with their owners and ends. If the pinned models can't all be loaded together, because\n" +
			"they share a group or there isn't enough memory, pin prints the conflicts with the other pins and their owners.",
		Example:           "  modelops pin qwen3:8b --for 2h\n  modelops pin qwen3:8b --owner evaluation",
		ValidArgsFunction: c.completeModels(1),
	}
	hostFlag(cmd, &host, "host whose model it is (default: the one on which it is loaded)")
	cmd.Flags().DurationVar(&lasts, "for", 0, "how long; 0 is without end")
	cmd.Flags().StringVar(&owner, "owner", "", "owner of the pin (default: your user name)")
	cmd.RunE = act(func(ctx context.Context, args []string) error {
		ttl, err := wholeSeconds("--for", lasts, "0 is without end")
		if err != nil {
			return err
		}
		return c.asked(ctx, shortWait, func(ctx context.Context, k *client) error {
			pin, err := k.PinModel(ctx, &messages.PinModelRequest{ModelName: args[0], Owner: cmp.Or(strings.TrimSpace(owner), userName()), TtlSeconds: ttl, Host: host})
			return c.pinned(ctx, k, pin, err)
		})
	})
	return cmd
}

func (c *cli) unpinCommand() *cobra.Command {
	var host string
	cmd := &cobra.Command{
		Use: "unpin MODEL", Args: cobra.ExactArgs(1),
		Short:             "End a model's pin",
		Long:              "unpin ends the pin that `modelops pin` made, no matter who owns it. A model that the configuration pins stays pinned.",
		ValidArgsFunction: c.completeModels(1),
		RunE: c.asks(shortWait, func(ctx context.Context, k *client, args []string) error {
			pin, err := k.UnpinModel(ctx, &messages.UnpinModelRequest{ModelName: args[0], Host: host})
			return c.pinned(ctx, k, pin, err)
		}),
	}
	hostFlag(cmd, &host, "host whose model it is (default: the one on which it is loaded)")
	return cmd
}

// userName is the owner of a pin or a hint when no other is given.
func userName() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return anonymousName
}

// pinned shows a model whose pin has changed.
func (c *cli) pinned(ctx context.Context, k *client, pin *messages.PinModelReply, err error) error {
	if err != nil {
		return err
	}
	// The status comes from the gateway, which learns of the pin a moment after the model: read the pin from the model itself.
	host := pin.Host
	if host == "" { // the daemon's own
		if host, err = k.host(ctx); err != nil {
			return err
		}
	}
	v, err := k.model(ctx, messages.ModelActor(host, pin.ModelName))
	if err != nil {
		return err
	}
	if c.asJSON {
		return printJSON(c.stdout, map[string]any{"model": v.Name, "pinned_by": v.PinnedBy, "pinned_until_ms": v.PinnedUntilMs,
			"pinned_by_configuration": v.GetSpec().GetPinned(), "phase": v.Phase, "conflicts": append([]string{}, pin.Conflicts...)})
	}
	return c.printPin(v, pin.Conflicts)
}

func (c *cli) printPin(v *messages.ModelView, conflicts []string) error {
	switch pin := pinOf(v, c.now()); {
	case pin == "":
		fmt.Fprintf(c.stdout, "%s isn't pinned\n", v.Name)
	case v.Phase == messages.ModelView_ready:
		fmt.Fprintf(c.stdout, "%s is pinned: %s\n", v.Name, pin)
	default:
		fmt.Fprintf(c.stdout, "%s is pinned: %s; it is %s, so the pin takes effect with its next load\n", v.Name, pin, v.Phase)
	}
	for _, line := range conflicts {
		fmt.Fprintln(c.stderr, "conflict: "+line)
	}
	return nil
}

// pinOf is the owner of a model's pin and how long it still lasts; empty without a pin.
func pinOf(m *messages.ModelView, now time.Time) string {
	by, until := m.PinAt(now.UnixMilli())
	switch {
	case by == "":
		return ""
	case until == 0:
		return "by " + by
	}
	return fmt.Sprintf("by %s for %s", by, lasting(time.UnixMilli(until).Sub(now)))
}
