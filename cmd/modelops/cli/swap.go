package cli

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	natsapi "modelops/bridges/nats"
	"modelops/messages"
)

// swapFlags are what a person says about a swap beside its name.
type swapFlags struct {
	order             *messages.SwapModel
	judge, ready      time.Duration
	wait              bool
	rollback, promote bool
	reason            string
}

func (c *cli) swapCommand() *cobra.Command {
	f := swapFlags{order: &messages.SwapModel{}}
	cmd := &cobra.Command{
		Use: "swap [NAME=MODEL | NAME --promote | NAME --rollback]", Args: cobra.MaximumNArgs(1),
		Short: "Let another model answer a name, tried first, and taken back when it fails",
		Long: "swap makes the new model ready beside the old one, gives it its share of the requests for the name or alias, and lets it answer them all when\n" +
			"it does well; then the old one is unloaded. When it doesn't get ready, or too many of its requests fail, everything is as before. What was\n" +
			"decided survives restarts, until the configuration says the same or withdraws the model. Without an argument it lists who answers what.\n\n" +
			"It ends with 1 when the swap was rolled back.",
		Example:           "  modelops swap chat=llama-v2 --canary 10 --requests 50 --wait\n  modelops swap chat --rollback\n  modelops swap --json",
		ValidArgsFunction: c.completeModels(1),
	}
	flags := cmd.Flags()
	flags.Uint32Var(&f.order.CanaryPct, "canary", 0, "share of the requests while it is tried, in percent (default: all, with the old model kept ready)")
	flags.Uint32Var(&f.order.MinRequests, "requests", 0, "judge it after so many requests (default 20)")
	flags.DurationVar(&f.judge, "judge", 0, "or after so much time (default 60s)")
	flags.Uint32Var(&f.order.MaxErrorPct, "max-errors", 0, "share of requests that may fail, in percent (default 5)")
	flags.DurationVar(&f.ready, "ready", 0, "how long it may take to be ready (default: twice its load timeout, at least 10m)")
	flags.BoolVar(&f.wait, "wait", terminal(c.stdout), "wait until it is promoted or rolled back (default on a terminal)")
	flags.BoolVar(&f.promote, "promote", false, "end the trial now, in the new model's favour")
	flags.BoolVar(&f.rollback, "rollback", false, "end the swap now in the old model's favour, or take it back when it is done")
	flags.StringVar(&f.reason, "reason", "", "why, for --rollback")
	cmd.MarkFlagsMutuallyExclusive("promote", "rollback")
	cmd.RunE = act(func(ctx context.Context, args []string) error {
		for flag, d := range map[string]time.Duration{"--judge": f.judge, "--ready": f.ready} {
			if d < 0 || d.Seconds() > math.MaxUint32 {
				return messages.Errorf(messages.InvalidArgument, flag, "%s is no time that can be waited", d).WithHint("more than 0; leave it out for the default")
			}
		}
		wait := longWait + f.judge + f.ready
		return c.asked(ctx, wait, func(ctx context.Context, k *Client) error { return c.swap(ctx, k, args, f) })
	})
	return cmd
}

func (c *cli) swap(ctx context.Context, k *Client, args []string, f swapFlags) error {
	if len(args) == 0 {
		if f.promote || f.rollback {
			return messages.NewError(messages.InvalidArgument, "swap", "no name was given").WithHint("modelops swap NAME --promote or --rollback")
		}
		return c.listSwaps(ctx, k)
	}
	r := &messages.SwapReply{}
	name, to, whole := strings.Cut(args[0], "=")
	ends := f.promote || f.rollback
	var err error
	switch {
	case name == "":
		return messages.NewError(messages.InvalidArgument, "swap", "no name was given").WithHint("modelops swap NAME=MODEL, or modelops swap NAME --promote or --rollback")
	case ends == whole:
		return messages.Errorf(messages.InvalidArgument, args[0], "it isn't clear what to swap").WithHint("modelops swap NAME=MODEL, or modelops swap NAME --promote or --rollback")
	case f.promote:
		err = k.askFor(ctx, "swaps.promote."+natsapi.Token(name), &messages.PromoteSwap{Name: name}, r)
	case f.rollback:
		err = k.askFor(ctx, "swaps.rollback."+natsapi.Token(name), &messages.RollbackSwap{Name: name, Reason: f.reason}, r)
	default:
		f.order.Name, f.order.To, f.order.JudgeSeconds, f.order.ReadySeconds = name, to, seconds(f.judge), seconds(f.ready)
		err = k.askFor(ctx, "swaps.start", f.order, r)
	}
	if err != nil {
		return err
	}
	if f.wait && (r.Phase == "preparing" || r.Phase == "trying") {
		if r, err = c.watchSwap(ctx, k, r); err != nil {
			return err
		}
	}
	if err := c.printSwap(r); err != nil {
		return err
	}
	if r.Phase == "rolled_back" && !f.rollback {
		return quietExit(exitNo)
	}
	return nil
}

// seconds rounds up: half a second is not "no time given".
func seconds(d time.Duration) uint32 { return uint32((d + time.Second - 1) / time.Second) }

const swapLookEvery = 200 * time.Millisecond

// watchSwap follows a swap until it is over, and says each phase.
func (c *cli) watchSwap(ctx context.Context, k *Client, r *messages.SwapReply) (*messages.SwapReply, error) {
	bar := c.progress(swapLine(r))
	defer bar.done()
	tick := time.NewTicker(swapLookEvery)
	defer tick.Stop()
	shown := ""
	for r.Phase == "preparing" || r.Phase == "trying" {
		if r.Phase != shown {
			shown = r.Phase
			bar.stage(swapLine(r))
			if !c.asJSON {
				fmt.Fprintln(c.stderr, swapLine(r))
			}
		}
		select {
		case <-ctx.Done():
			return nil, messages.AsError(ctx.Err()).WithHint("the swap goes on; modelops swap shows how far it is")
		case <-tick.C:
		}
		list := &messages.SwapList{}
		if err := k.askFor(ctx, "swaps.list", nil, list); err != nil {
			return nil, err
		}
		i := slices.IndexFunc(list.Swaps, func(s *messages.SwapReply) bool { return s.Id == r.Id })
		if i < 0 {
			return nil, messages.NewError(messages.FailedPrecondition, r.Name, "another swap took this one's place").WithHint("modelops swap shows it")
		}
		r = list.Swaps[i]
	}
	return r, nil
}

// swapLine says how far a swap is.
func swapLine(r *messages.SwapReply) string {
	switch r.Phase {
	case "preparing":
		return fmt.Sprintf("%s: %s gets ready, %s answers", r.Name, r.To, r.From)
	case "trying":
		return fmt.Sprintf("%s: %s is tried, %s stays ready", r.Name, r.To, r.From)
	case "promoted":
		return fmt.Sprintf("%s is answered by %s: %s", r.Name, r.To, r.Reason)
	}
	return fmt.Sprintf("%s is answered by %s as before: %s", r.Name, r.From, r.Reason)
}

func (c *cli) printSwap(r *messages.SwapReply) error {
	if c.asJSON {
		return printProto(c.stdout, r)
	}
	_, err := fmt.Fprintln(c.stdout, swapLine(r))
	return err
}

func (c *cli) listSwaps(ctx context.Context, k *Client) error {
	list := &messages.SwapList{}
	if err := k.askFor(ctx, "swaps.list", nil, list); err != nil {
		return err
	}
	if c.asJSON {
		return printProto(c.stdout, list)
	}
	if len(list.Routes)+len(list.Swaps) == 0 {
		fmt.Fprintln(c.stdout, "every name is answered by the model that is declared for it; modelops swap NAME=MODEL changes that")
		return nil
	}
	return c.printSwaps(list)
}

func (c *cli) printSwaps(list *messages.SwapList) error {
	if len(list.Routes) > 0 {
		t := table{columns: []string{"NAME", "MODEL", "TRIED", "SHARE"}}
		for _, r := range list.Routes {
			share := ""
			if r.Canary != "" {
				share = fmt.Sprintf("%d %%", r.SharePct)
			}
			t.add(r.Name, r.To, r.Canary, share)
		}
		if err := t.print(c.stdout); err != nil {
			return err
		}
		fmt.Fprintln(c.stdout)
	}
	t := table{columns: []string{"SWAP", "FROM", "TO", "PHASE", "REASON"}}
	for _, s := range list.Swaps {
		t.add(s.Name, s.From, s.To, s.Phase, s.Reason)
	}
	return t.print(c.stdout)
}
