package cli

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/spf13/cobra"

	"modelops/messages"
)

func (c *cli) hintCommand() *cobra.Command {
	q := &messages.HintModelRequest{}
	var lasts time.Duration
	var mb uint64
	cmd := &cobra.Command{
		Use: "hint [MODEL]", Args: cobra.MaximumNArgs(1),
		Short: "Keep memory free for a model that will be needed soon, if possible",
		Long: "hint keeps memory free for a model that will be needed soon. It is not a lease: other models are placed elsewhere if they fit there,\n" +
			"and otherwise take the memory. A hint ends when the model is placed, when its time is over, or with --for 0. Without MODEL, hint lists\n" +
			"the hints.",
		Example:           "  modelops hint\n  modelops hint big --for 10m\n  modelops hint big --for 0",
		ValidArgsFunction: c.completeModels(1),
	}
	cmd.Flags().DurationVar(&lasts, "for", 10*time.Minute, "how long; 0 ends the hint")
	cmd.Flags().Uint64Var(&mb, "mb", 0, "MiB to keep free (default: what the model was measured, declared or estimated to need)")
	cmd.RunE = act(func(ctx context.Context, args []string) (err error) {
		if q.WithinSeconds, err = wholeSeconds("--for", lasts, "0 ends the hint"); err != nil {
			return err
		}
		if q.Bytes, err = mibToBytes("--mb", mb); err != nil {
			return err
		}
		return c.asked(ctx, shortWait, func(ctx context.Context, k *client) error {
			if len(args) == 0 {
				return c.listHints(ctx, k)
			}
			q.ModelName, q.Owner = args[0], userName()
			kept, err := k.HintModel(ctx, q)
			if err != nil {
				return err
			}
			return show(c, kept, func(h *messages.HintReply) error { return c.printHint(args[0], h) })
		})
	})
	return cmd
}

// longestSpan is the most whole hours that are sent as seconds.
const longestSpan = math.MaxUint32 / 3600 * time.Hour

// wholeSeconds checks a duration that is sent in seconds. The hint says what 0 means.
func wholeSeconds(flag string, d time.Duration, zero string) (uint32, error) {
	if d < 0 || d > 0 && d < time.Second || d > longestSpan {
		return 0, messages.Errorf(messages.InvalidArgument, flag, "%s is not a valid duration", d).WithHint(fmt.Sprintf("at least 1s, at most %.0fh; %s", longestSpan.Hours(), zero))
	}
	return uint32(d.Seconds()), nil
}

func (c *cli) printHint(model string, kept *messages.HintReply) (err error) {
	switch {
	case kept.Gpu == "":
		_, err = fmt.Fprintf(c.stdout, "no memory is kept free for %s\n", model)
	case kept.UntilMs == 0:
		_, err = fmt.Fprintf(c.stdout, "%s is on %s already\n", model, nameOf(kept.Gpu))
	default:
		_, err = fmt.Fprintf(c.stdout, "%s on %s are kept free for %s until %s; a model that fits nowhere else may take them\n", messages.FormatBytes(kept.Bytes),
			nameOf(kept.Gpu), model, time.UnixMilli(kept.UntilMs).Format(time.TimeOnly))
	}
	return err
}

func (c *cli) listHints(ctx context.Context, k *client) error {
	kept, err := k.ListHints(ctx, nil)
	if err != nil {
		return err
	}
	return show(c, kept, func(l *messages.HintList) error { return c.printHints(l.Hints, c.now()) })
}

func (c *cli) printHints(hints []*messages.HintReply, now time.Time) error {
	if len(hints) == 0 {
		fmt.Fprintln(c.stdout, "there are no hints; `modelops hint MODEL` makes one")
		return nil
	}
	t := table{columns: []string{"MODEL", "DEVICE", "MEMORY", "FOR", "BY"}}
	for _, h := range hints {
		t.add(nameOf(h.Model), nameOf(h.Gpu), messages.FormatBytes(h.Bytes), lasting(time.UnixMilli(h.UntilMs).Sub(now)), h.Owner)
	}
	return t.print(c.stdout)
}
