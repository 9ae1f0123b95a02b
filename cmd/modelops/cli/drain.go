package cli

import (
	"context"
	"fmt"
	"slices"
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
			"unloaded when they are idle, unless they are pinned. It says when the host may be rebooted. A drain lasts over restarts, until --undo.\n\n" +
			"--wait says on stderr what it waits for. When all that is left doesn't leave by itself, it says why and what to do, and ends with exit code 5; the drain goes on.",
		RunE: c.asks(longWait, func(ctx context.Context, k *client, args []string) error {
			if len(args) > 0 {
				r.Host = args[0]
			}
			reply, err := k.DrainHost(ctx, r)
			for said := ""; wait && !r.Undo && err == nil && !reply.Safe && !stuck(reply); reply, err = k.DrainHost(ctx, r) {
				if now := strings.Join(append(reply.WaitsFor, reply.Stuck...), "\n"); now != said {
					fmt.Fprintln(c.stderr, now)
					said = now
				}
				select {
				case <-ctx.Done():
					return context.Cause(ctx)
				case <-time.After(drainLook):
				}
			}
			if err != nil {
				return err
			}
			if err := show(c, reply, c.printDrain); err != nil || !wait || !stuck(reply) {
				return err
			}
			return messages.NewError(messages.FailedPrecondition, "host "+reply.Host, "it isn't empty: what is left doesn't leave by itself").
				WithHint("the drain goes on: run modelops drain again afterwards, or end it with --undo")
		}),
	}
	cmd.Flags().BoolVar(&r.Undo, "undo", false, "let the host take models again")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it is safe to reboot it")
	return cmd
}

// stuck tells whether nothing that is left leaves by itself.
func stuck(r *messages.DrainHostReply) bool { return len(r.Stuck) > 0 && len(r.WaitsFor) == 0 }

func (c *cli) printDrain(r *messages.DrainHostReply) error {
	said := r.Host + " is being emptied"
	switch {
	case !r.Draining:
		said = r.Host + " takes models again"
	case r.Safe:
		said = r.Host + " is empty: it may be rebooted"
	}
	_, err := fmt.Fprintln(c.stdout, strings.Join(slices.Concat([]string{said}, r.WaitsFor, r.Stuck), "\n"))
	return err
}
