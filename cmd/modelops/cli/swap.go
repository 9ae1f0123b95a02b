package cli

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"modelops/messages"
)

// swapFlags are the flags of swap.
type swapFlags struct {
	order             *messages.SwapModel
	judge, ready      time.Duration
	wait              bool
	rollback, promote bool
	reason, host      string
}

func (c *cli) swapCommand() *cobra.Command {
	f := swapFlags{order: &messages.SwapModel{}}
	cmd := &cobra.Command{
		Use: "swap [NAME=MODEL | NAME --promote | NAME --rollback]", Args: cobra.MaximumNArgs(1),
		Short: "Route a name to another model, with a trial and an automatic rollback",
		Long: "swap loads the new model while the old one keeps answering, then sends a share of the requests for the name or alias to the new model. If few\n" +
			"enough of them fail, the new model is promoted: it answers all requests, and the old one is unloaded. If it doesn't become ready or too many\n" +
			"requests fail, the swap is rolled back and the old model answers as before. The result survives restarts, until the configuration declares the\n" +
			"same or withdraws the model. Without an argument, swap lists the routes and the latest swaps.\n\n" +
			"The exit code is 1 if the swap was rolled back.",
		Example:           "  modelops swap chat=llama-v2 --canary 10 --requests 50 --wait\n  modelops swap chat --rollback\n  modelops swap --json",
		ValidArgsFunction: c.completeModels(1),
	}
	flags := cmd.Flags()
	flags.Uint32Var(&f.order.CanaryPct, "canary", 0, "share of the requests during the trial, in percent (default: all; the old model stays ready)")
	flags.Uint32Var(&f.order.MinRequests, "requests", 0, "end the trial after this many requests (default 20)")
	flags.DurationVar(&f.judge, "judge", 0, "end the trial after this time (default 60s)")
	flags.Uint32Var(&f.order.MaxErrorPct, "max-errors", 0, "share of the trial's requests that may fail, in percent (default 5)")
	flags.DurationVar(&f.ready, "ready", 0, "how long the new model may take to become ready (default: twice its load timeout, at least 10m)")
	flags.BoolVar(&f.wait, "wait", terminal(c.stdout), "wait until the swap is promoted or rolled back (default on a terminal)")
	flags.BoolVar(&f.promote, "promote", false, "end the trial now and keep the new model")
	flags.BoolVar(&f.rollback, "rollback", false, "end the swap now and keep the old model, or undo a finished swap")
	flags.StringVar(&f.reason, "reason", "", "reason to record, for --rollback")
	hostFlag(cmd, &f.host, "host whose names it is about (default: this one)")
	cmd.MarkFlagsMutuallyExclusive("promote", "rollback")
	cmd.RunE = act(func(ctx context.Context, args []string) error {
		call, err := f.call(args)
		if err != nil {
			return err
		}
		return c.asked(askedOf(ctx, f.host), longWait+f.judge+f.ready, func(ctx context.Context, k *client) error {
			if call == nil {
				return c.listSwaps(ctx, k)
			}
			return c.swap(ctx, k, call, f)
		})
	})
	return cmd
}

// swapCall asks the daemon to start or end a swap.
type swapCall func(context.Context, messages.Operations) (*messages.SwapReply, error)

// call is what the command line asks for; nil means to list the swaps.
func (f swapFlags) call(args []string) (swapCall, error) {
	const usage = "`modelops swap NAME=MODEL`, or `modelops swap NAME` with --promote or --rollback"
	for flag, d := range map[string]time.Duration{"--judge": f.judge, "--ready": f.ready} {
		if d < 0 || d.Seconds() > math.MaxUint32 {
			return nil, messages.Errorf(messages.InvalidArgument, flag, "%s is not a valid duration", d).WithHint("more than 0; leave it out for the default")
		}
	}
	ends := f.promote || f.rollback
	if len(args) == 0 && !ends {
		return nil, nil
	}
	name, to, starts := strings.Cut(strings.Join(args, ""), "=")
	switch {
	case name == "":
		return nil, messages.NewError(messages.InvalidArgument, "swap", "no name was given").WithHint(usage)
	case ends == starts:
		return nil, messages.Errorf(messages.InvalidArgument, args[0], "NAME=MODEL starts a swap, NAME alone needs --promote or --rollback").WithHint(usage)
	case f.promote:
		return func(ctx context.Context, o messages.Operations) (*messages.SwapReply, error) {
			return o.PromoteSwap(ctx, &messages.PromoteSwap{Name: name})
		}, nil
	case f.rollback:
		return func(ctx context.Context, o messages.Operations) (*messages.SwapReply, error) {
			return o.RollbackSwap(ctx, &messages.RollbackSwap{Name: name, Reason: f.reason})
		}, nil
	}
	f.order.Name, f.order.To, f.order.JudgeSeconds, f.order.ReadySeconds = name, to, seconds(f.judge), seconds(f.ready)
	return func(ctx context.Context, o messages.Operations) (*messages.SwapReply, error) {
		return o.StartSwap(ctx, f.order)
	}, nil
}

func (c *cli) swap(ctx context.Context, k *client, call swapCall, f swapFlags) error {
	r, err := call(ctx, k)
	if err != nil {
		return err
	}
	if f.wait && (r.Phase == messages.SwapReply_preparing || r.Phase == messages.SwapReply_trying) {
		if r, err = c.watchSwap(ctx, k, r); err != nil {
			return err
		}
	}
	if err := show(c, r, c.printSwap); err != nil {
		return err
	}
	if r.Phase == messages.SwapReply_rolled_back && !f.rollback {
		return quietExit(exitNo)
	}
	return nil
}

// seconds rounds up: 0 means that no time was given, and half a second is not 0.
func seconds(d time.Duration) uint32 { return uint32((d + time.Second - 1) / time.Second) }

const swapLookEvery = 200 * time.Millisecond

// watchSwap follows a swap until it is over and prints each phase.
func (c *cli) watchSwap(ctx context.Context, k *client, r *messages.SwapReply) (*messages.SwapReply, error) {
	bar := c.progress(swapLine(r))
	defer bar.done()
	tick := time.NewTicker(swapLookEvery)
	defer tick.Stop()
	shown := messages.SwapReply_phase_unknown
	for r.Phase == messages.SwapReply_preparing || r.Phase == messages.SwapReply_trying {
		if r.Phase != shown {
			shown = r.Phase
			bar.stage(swapLine(r))
			if !c.asJSON {
				fmt.Fprintln(c.stderr, swapLine(r))
			}
		}
		select {
		case <-ctx.Done():
			return nil, messages.AsError(ctx.Err()).WithHint("the swap goes on; `modelops swap` shows its progress")
		case <-tick.C:
		}
		list, err := k.ListSwaps(ctx, nil)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(list.Swaps, func(s *messages.SwapReply) bool { return s.Id == r.Id })
		if i < 0 {
			return nil, messages.NewError(messages.FailedPrecondition, r.Name, "another swap has replaced this one").WithHint("`modelops swap` shows it")
		}
		r = list.Swaps[i]
	}
	return r, nil
}

// swapLine is the phase of a swap in words.
func swapLine(r *messages.SwapReply) string {
	switch r.Phase {
	case messages.SwapReply_preparing:
		return fmt.Sprintf("%s: %s is being loaded, %s answers", r.Name, r.To, r.From)
	case messages.SwapReply_trying:
		return fmt.Sprintf("%s: %s is on trial, %s stays ready", r.Name, r.To, r.From)
	case messages.SwapReply_promoted:
		return fmt.Sprintf("%s is answered by %s: %s", r.Name, r.To, r.Reason)
	}
	return fmt.Sprintf("%s is answered by %s as before: %s", r.Name, r.From, r.Reason)
}

func (c *cli) printSwap(r *messages.SwapReply) error {
	_, err := fmt.Fprintln(c.stdout, swapLine(r))
	return err
}

func (c *cli) listSwaps(ctx context.Context, k *client) error {
	list, err := k.ListSwaps(ctx, nil)
	if err != nil {
		return err
	}
	return show(c, list, c.printSwaps)
}

func (c *cli) printSwaps(list *messages.SwapList) error {
	if len(list.Routes)+len(list.Swaps) == 0 {
		fmt.Fprintln(c.stdout, "there are no swaps: every name is answered by the model that declares it; `modelops swap NAME=MODEL` changes that")
		return nil
	}
	if len(list.Routes) > 0 {
		t := table{columns: []string{"NAME", "MODEL", "TRIAL", "SHARE"}}
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
		t.add(s.Name, s.From, s.To, s.Phase.String(), s.Reason)
	}
	return t.print(c.stdout)
}
