package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"modelops/messages"
)

func (c *cli) pinCommand() *cobra.Command {
	var owner string
	var lasts time.Duration
	cmd := &cobra.Command{
		Use: "pin MODEL", Args: cobra.ExactArgs(1),
		Short: "Keep a model from eviction, for a time or for good",
		Long: "pin keeps a model from being evicted and from being unloaded when idle, until its time is over, until unpin, or for good. A\n" +
			"model has one pin: the latest word counts. A pin loads nothing; on a model that isn't resident it holds from its next load.\n\n" +
			"Pins are shown with owner and end by `modelops models`, `ps` and `why`. Where this pin and others can't all be kept, because\n" +
			"the models share a group or there isn't memory for all of them, pin says so and names the others and their owners.",
		Example:           "  modelops pin qwen3:8b --for 2h\n  modelops pin qwen3:8b --owner evaluation",
		ValidArgsFunction: c.completeModels(1),
	}
	cmd.Flags().DurationVar(&lasts, "for", 0, "how long; 0 is for good")
	cmd.Flags().StringVar(&owner, "owner", "", "who pins it (default: your user name)")
	cmd.RunE = act(func(ctx context.Context, args []string) error {
		if lasts < 0 || lasts > 0 && lasts < time.Second || lasts.Seconds() > math.MaxUint32 {
			return messages.Errorf(messages.InvalidArgument, "--for", "%s is no time that a pin can last", lasts).WithHint("at least 1s; 0 is for good")
		}
		if owner = strings.TrimSpace(owner); owner == "" {
			owner = whoAmI()
		}
		return c.asked(ctx, shortWait, func(ctx context.Context, k *Client) error {
			return c.pin(ctx, k, args[0], &messages.PinModel{Owner: owner, TtlSeconds: uint32(lasts.Seconds())})
		})
	})
	return cmd
}

func (c *cli) unpinCommand() *cobra.Command {
	return &cobra.Command{
		Use: "unpin MODEL", Args: cobra.ExactArgs(1),
		Short:             "End a model's pin",
		Long:              "unpin ends the pin that `modelops pin` set, whoever owns it. A model that the configuration pins stays pinned.",
		ValidArgsFunction: c.completeModels(1),
		RunE: act(func(ctx context.Context, args []string) error {
			return c.asked(ctx, shortWait, func(ctx context.Context, k *Client) error {
				return c.pin(ctx, k, args[0], &messages.PinModel{})
			})
		}),
	}
}

// whoAmI names the owner of a pin; who can't be named is anonymous.
func whoAmI() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return anonymousName
}

func (c *cli) pin(ctx context.Context, k *Client, name string, command *messages.PinModel) error {
	name, err := k.nameOf(ctx, name)
	if err != nil {
		return err
	}
	host, err := k.host(ctx)
	if err != nil {
		return err
	}
	actor := messages.ModelActor(host, name)
	body, err := protojson.Marshal(command)
	if err != nil {
		return err
	}
	q, err := json.Marshal(map[string]any{"actor": actor.String(), "command": "PinModel", "body": json.RawMessage(body)})
	if err != nil {
		return err
	}
	if _, err := k.ask(ctx, "send", q); err != nil {
		return err
	}
	s, err := k.status(ctx)
	if err != nil {
		return err
	}
	// The gateway, which the status asks, hears of the pin a moment later than the model.
	v, err := k.model(ctx, actor)
	if err != nil {
		return err
	}
	conflicts := pinConflicts(s, v)
	if c.asJSON {
		return printJSON(c.stdout, map[string]any{"model": name, "pinned_by": v.PinnedBy, "pinned_until_ms": v.PinnedUntilMs,
			"pinned_by_configuration": v.GetSpec().GetPinned(), "phase": v.Phase, "conflicts": append([]string{}, conflicts...)})
	}
	return c.printPin(v, conflicts)
}

func (c *cli) printPin(v *messages.ModelView, conflicts []string) error {
	switch pin := pinOf(v, time.Now()); {
	case pin == "":
		fmt.Fprintf(c.stdout, "%s isn't pinned\n", v.Name)
	case v.Phase == "ready":
		fmt.Fprintf(c.stdout, "%s is pinned: %s\n", v.Name, pin)
	default:
		fmt.Fprintf(c.stdout, "%s is pinned: %s; it is %s, so the pin holds from its next load\n", v.Name, pin, v.Phase)
	}
	for _, line := range conflicts {
		fmt.Fprintln(c.stderr, "conflict: "+line)
	}
	return nil
}

// pinOf says who keeps a model and how long still; empty when nobody does.
func pinOf(m *messages.ModelView, now time.Time) string {
	until := time.UnixMilli(m.GetPinnedUntilMs())
	switch {
	case m.GetPinnedBy() != "" && m.GetPinnedUntilMs() == 0:
		return "by " + m.PinnedBy
	case m.GetPinnedBy() != "" && until.After(now):
		return fmt.Sprintf("by %s for %s", m.PinnedBy, lasting(until.Sub(now)))
	case m.GetSpec().GetPinned():
		return "by configuration"
	}
	return ""
}

// pinConflicts says why a pinned model can't be resident beside the others that are pinned, and names those with their owners.
func pinConflicts(s *messages.StatusView, m *messages.ModelView) []string {
	now := time.Now()
	if pinOf(m, now) == "" {
		return nil
	}
	var out []string
	var held []string // pins that hold memory
	holding := map[string]uint64{}
	for _, o := range s.Models {
		pin := pinOf(o, now)
		if o.Name == m.Name || pin == "" {
			continue
		}
		for _, group := range o.GetSpec().GetGroups() {
			if slices.Contains(m.GetSpec().GetGroups(), group) {
				out = append(out, fmt.Sprintf("%s is pinned %s, and group %s lets only one of the two be resident", o.Name, pin, group))
				break
			}
		}
		if p := o.GetPlacement(); p != nil {
			holding[p.Gpu] += p.Bytes
			held = append(held, fmt.Sprintf("%s %s (%s)", o.Name, pin, messages.FormatBytes(p.Bytes)))
		}
	}
	need := max(m.GetSpec().GetVramBytes(), m.GetMeasuredBytes())
	if m.GetPlacement() != nil || len(held) == 0 || need == 0 {
		return out // it is there already, or nobody knows what it needs
	}
	var most uint64
	for _, g := range s.Gpus {
		most = max(most, g.LimitBytes-min(g.LimitBytes, holding[g.Id]))
	}
	if need > most {
		out = append(out, fmt.Sprintf("it needs %s and at most %s can be had on one device while these stay: %s", messages.FormatBytes(need), messages.FormatBytes(most), strings.Join(held, ", ")))
	}
	return out
}
