package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"modelops/messages"
)

// drainLook is the pause between two looks at a drain that is waited for.
const drainLook = 500 * time.Millisecond

func (c *cli) drainCommand() *cobra.Command {
	r, wait := &messages.DrainHostRequest{}, false
	cmd := &cobra.Command{
		Use: "drain [HOST]", Args: cobra.MaximumNArgs(1),
		Short: "Empty a host for a reboot",
		Long: "drain has a host take no models any more. Its models finish their requests and move to other hosts that can run them; those that can run nowhere else are\n" +
			"unloaded when they are idle. It says when the host may be rebooted. A drain lasts over restarts, until --undo.",
		RunE: c.asks(longWait, func(ctx context.Context, k *client, args []string) error {
			if len(args) > 0 {
				r.Host = args[0]
			}
			reply, err := k.DrainHost(ctx, r)
			for wait && !r.Undo && err == nil && !reply.Safe {
				select {
				case <-ctx.Done():
					return context.Cause(ctx)
				case <-time.After(drainLook):
				}
				reply, err = k.DrainHost(ctx, r)
			}
			if err != nil {
				return err
			}
			return show(c, reply, c.printDrain)
		}),
	}
	cmd.Flags().BoolVar(&r.Undo, "undo", false, "let the host take models again")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it is safe to reboot it")
	return cmd
}

func (c *cli) printDrain(r *messages.DrainHostReply) error {
	said := r.Host + " is being emptied"
	switch {
	case !r.Draining:
		said = r.Host + " takes models again"
	case r.Safe:
		said = r.Host + " is empty: it may be rebooted"
	}
	_, err := fmt.Fprintln(c.stdout, strings.Join(append([]string{said}, r.WaitsFor...), "\n"))
	return err
}
