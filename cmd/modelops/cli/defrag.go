package cli

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/spf13/cobra"

	"modelops/messages"
)

func (c *cli) defragCommand() *cobra.Command {
	q := &messages.DefragRequest{}
	var model string
	var mb uint64
	cmd := &cobra.Command{
		Use: "defrag", Args: cobra.NoArgs,
		Short: "Plan moves of idle models that make a larger free block on one device; --apply carries them out",
		Long: "defrag shows which idle models have to move to other devices so that enough memory is free on one device, and how long each of\n" +
			"them is unavailable. Nothing moves without --apply; with it the moves happen one after the other.",
		Example: "  modelops defrag --for big\n  modelops defrag --mb 20000 --apply",
	}
	cmd.Flags().StringVar(&model, "for", "", "make room for this model: as much as it was measured, declared or estimated to need")
	cmd.Flags().Uint64Var(&mb, "mb", 0, "MiB to be free on one device (default without --for: what is worth the cost of the moves)")
	cmd.Flags().BoolVar(&q.Apply, "apply", false, "carry out the moves")
	_ = cmd.RegisterFlagCompletionFunc("for", c.completeModels(1))
	cmd.RunE = act(func(ctx context.Context, _ []string) (err error) {
		if q.NeedBytes, err = mibToBytes("--mb", mb); err != nil {
			return err
		}
		return c.asked(ctx, shortWait, func(ctx context.Context, k *client) error {
			if model != "" {
				q.ModelName = model
			}
			plan, err := k.Defrag(ctx, q)
			if err != nil {
				return err
			}
			return show(c, plan, c.printPlan)
		})
	})
	return cmd
}

func mibToBytes(flag string, mib uint64) (uint64, error) {
	if mib > math.MaxUint64/messages.MiB {
		return 0, messages.Errorf(messages.InvalidArgument, flag, "%d MiB is too large", mib)
	}
	return mib * messages.MiB, nil
}

func (c *cli) printPlan(p *messages.DefragPlan) error {
	if len(p.Moves) == 0 {
		fmt.Fprintf(c.stdout, "%s; the largest free block is %s\n", p.Note, messages.FormatBytes(p.FreeBefore))
		return nil
	}
	t := table{columns: []string{"MODEL", "FROM", "TO", "MEMORY", "IDLE", "DOWNTIME", "COST"}}
	for _, m := range p.Moves {
		t.add(nameOf(m.Holder), nameOf(m.From), nameOf(m.To), messages.FormatBytes(m.Bytes), lasting(time.Duration(m.IdleMs)*time.Millisecond),
			"about "+lasting(time.Duration(m.LoadMs)*time.Millisecond), fmt.Sprintf("%.3g", m.Cost))
	}
	if err := t.print(c.stdout); err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "the largest free block: %s now, %s on %s after the moves\n", messages.FormatBytes(p.FreeBefore), messages.FormatBytes(p.FreeAfter), nameOf(p.Gpu))
	if p.Id != "" {
		fmt.Fprintln(c.stdout, "the moves have begun; `modelops state arbiter` shows their progress")
	} else {
		fmt.Fprintln(c.stdout, "nothing was moved; --apply carries it out")
	}
	return nil
}
