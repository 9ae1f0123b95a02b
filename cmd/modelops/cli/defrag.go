package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os/user"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	natsapi "modelops/bridges/nats"
	"modelops/messages"
)

func (c *cli) defragCommand() *cobra.Command {
	q := &messages.PlanDefrag{}
	var model string
	var mb uint64
	cmd := &cobra.Command{
		Use: "defrag", Args: cobra.NoArgs,
		Short:   "Show which idle models would have to move to make room in one piece, and what that costs; move them with --apply",
		Example: "  modelops defrag --for big\n  modelops defrag --mb 20000 --apply",
	}
	cmd.Flags().StringVar(&model, "for", "", "the model for which room is wanted; its need is what is known of it")
	cmd.Flags().Uint64Var(&mb, "mb", 0, "MiB that shall be free on one device; without it and --for, what is worth it")
	cmd.Flags().BoolVar(&q.Apply, "apply", false, "carry it out, one move after the other")
	_ = cmd.RegisterFlagCompletionFunc("for", c.completeModels(1))
	cmd.RunE = act(func(ctx context.Context, _ []string) error {
		if mb > math.MaxUint64/messages.MiB {
			return messages.Errorf(messages.InvalidArgument, "--mb", "%d MiB is more than can be counted", mb)
		}
		return c.asked(ctx, shortWait, func(ctx context.Context, k *Client) error {
			if model != "" {
				if err := k.actorOf(ctx, model, &q.Model); err != nil {
					return err
				}
			}
			q.NeedBytes = mb * messages.MiB
			plan := &messages.DefragPlan{}
			if err := k.tellArbiter(ctx, q, plan); err != nil {
				return err
			}
			return c.printPlan(plan)
		})
	})
	return cmd
}

func (c *cli) printPlan(p *messages.DefragPlan) error {
	if c.asJSON {
		return printProto(c.stdout, p)
	}
	if len(p.Moves) == 0 {
		fmt.Fprintf(c.stdout, "%s; the largest free block is %s\n", p.Note, messages.FormatBytes(p.FreeBefore))
		return nil
	}
	t := table{columns: []string{"MODEL", "FROM", "TO", "MEMORY", "IDLE", "AWAY FOR", "COST"}}
	for _, m := range p.Moves {
		t.add(nameOf(m.Model), nameOf(m.From), nameOf(m.To), messages.FormatBytes(m.Bytes), lasting(time.Duration(m.IdleMs)*time.Millisecond),
			"about "+lasting(time.Duration(m.LoadMs)*time.Millisecond), fmt.Sprintf("%.3g", m.Cost))
	}
	if err := t.print(c.stdout); err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "the largest free block: %s now, then %s on %s\n", messages.FormatBytes(p.FreeBefore), messages.FormatBytes(p.FreeAfter), nameOf(p.Gpu))
	if p.Id != "" {
		fmt.Fprintln(c.stdout, "it is being carried out; modelops state arbiter shows how far it is")
	} else {
		fmt.Fprintln(c.stdout, "nothing was moved; --apply does it")
	}
	return nil
}

func (c *cli) hintCommand() *cobra.Command {
	q := &messages.HintModel{}
	var within time.Duration
	var mb uint64
	cmd := &cobra.Command{
		Use: "hint [MODEL]", Args: cobra.MaximumNArgs(1),
		Short: "Keep room for a model that will be asked for: others go elsewhere while they can",
		Long: "hint keeps room for a model that will be asked for. Others go elsewhere while they can, and take the room when they can't: it is no\n" +
			"lease. It ends when the model has its place, when its time is over, or with --for 0. Without MODEL it lists what is kept.",
		Example:           "  modelops hint\n  modelops hint big --for 10m\n  modelops hint big --for 0",
		ValidArgsFunction: c.completeModels(1),
	}
	cmd.Flags().DurationVar(&within, "for", 10*time.Minute, "how long; 0 ends the hint")
	cmd.Flags().Uint64Var(&mb, "mb", 0, "MiB; without it, what is known of the model")
	cmd.RunE = act(func(ctx context.Context, args []string) error {
		if within < 0 || within > 0 && within < time.Second || within.Seconds() > math.MaxUint32 {
			return messages.Errorf(messages.InvalidArgument, "--for", "%s is no time that room can be kept", within).WithHint("at least 1s; 0 ends the hint")
		}
		if mb > math.MaxUint64/messages.MiB {
			return messages.Errorf(messages.InvalidArgument, "--mb", "%d MiB is more than can be counted", mb)
		}
		return c.asked(ctx, shortWait, func(ctx context.Context, k *Client) error {
			if len(args) == 0 {
				return c.listHints(ctx, k)
			}
			if err := k.actorOf(ctx, args[0], &q.Model); err != nil {
				return err
			}
			q.Bytes, q.WithinSeconds = mb*messages.MiB, uint32(within.Seconds())
			if u, err := user.Current(); err == nil {
				q.Owner = u.Username
			}
			kept := &messages.HintReply{}
			if err := k.tellArbiter(ctx, q, kept); err != nil {
				return err
			}
			return c.printHint(args[0], kept)
		})
	})
	return cmd
}

func (c *cli) printHint(model string, kept *messages.HintReply) error {
	switch {
	case c.asJSON:
		return printProto(c.stdout, kept)
	case kept.Gpu == "":
		fmt.Fprintf(c.stdout, "no room is kept for %s any more\n", model)
	case kept.UntilMs == 0:
		fmt.Fprintf(c.stdout, "%s is on %s already\n", model, nameOf(kept.Gpu))
	default:
		fmt.Fprintf(c.stdout, "%s are kept for %s on %s until %s: others go elsewhere while they can\n", messages.FormatBytes(kept.Bytes), model,
			nameOf(kept.Gpu), time.UnixMilli(kept.UntilMs).Format(time.TimeOnly))
	}
	return nil
}

func (c *cli) listHints(ctx context.Context, k *Client) error {
	s, err := k.status(ctx)
	if err != nil {
		return err
	}
	if c.asJSON {
		all, err := messagesJSON(s.Hints)
		if err != nil {
			return err
		}
		return printJSON(c.stdout, map[string]any{"hints": all})
	}
	return c.printHints(s.Hints, time.Now())
}

func (c *cli) printHints(hints []*messages.HintReply, now time.Time) error {
	if len(hints) == 0 {
		fmt.Fprintln(c.stdout, "no room is kept for anybody; modelops hint MODEL keeps it")
		return nil
	}
	t := table{columns: []string{"MODEL", "DEVICE", "MEMORY", "FOR", "BY"}}
	for _, h := range hints {
		t.add(nameOf(h.Model), nameOf(h.Gpu), messages.FormatBytes(h.Bytes), lasting(time.UnixMilli(h.UntilMs).Sub(now)), h.Owner)
	}
	return t.print(c.stdout)
}

// actorOf fills in the actor of a model, which may be called by an alias, on the daemon's host. An unknown name is ModelNotFound.
func (k *Client) actorOf(ctx context.Context, model string, actor *string) error {
	name, err := k.nameOf(ctx, model)
	if err != nil {
		return err
	}
	host, err := k.host(ctx)
	*actor = messages.ModelActor(host, name).String()
	return err
}

// tellArbiter sends a command to the scheduler. An answer of another kind leaves answer empty.
func (k *Client) tellArbiter(ctx context.Context, command, answer proto.Message) error {
	body, err := protojson.Marshal(command)
	if err != nil {
		return err
	}
	q, err := json.Marshal(map[string]any{"actor": messages.ArbiterActor().String(), "command": string(command.ProtoReflect().Descriptor().Name()),
		"body": json.RawMessage(body)})
	if err != nil {
		return err
	}
	m, err := k.ask(ctx, "send", q)
	if err != nil {
		return err
	}
	var reply natsapi.SendReply
	if err := json.Unmarshal(m.Data, &reply); err != nil {
		return err
	}
	return readReply(reply.Answer, answer)
}
