package cli

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"modelops/messages"
)

func (c *cli) whyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "why MODEL|REQUEST|LEASE", Args: cobra.ExactArgs(1),
		Short: "Explain why a model, a request or a lease is where it is",
		Long: "why reads the journal and says, in words and numbers, why a model is where it is: which decision put it there, which devices were\n" +
			"rejected with which sums, who was evicted for whom, why it waits or failed, and what would have to change. It takes a model's name or\n" +
			"alias, a lease's or placement's id (`modelops gpus --leases`), or a request's id (X-Request-Id); lease/ID, placement/ID and request/ID\n" +
			"where a model has that name too. What is marked # stands at that sequence in the journal.",
		Example:           "  modelops why tiny\n  modelops why 0e6f0c1e-8a55-4b0e-9f6e-2f0a6a4c5e6d\n  modelops why request/my-id --json",
		ValidArgsFunction: c.completeModels(1),
	}
	cmd.RunE = act(func(ctx context.Context, args []string) error {
		return c.asked(ctx, shortWait, func(ctx context.Context, k *Client) error {
			e := &messages.Explanation{}
			if err := k.askFor(ctx, "why", &messages.WhyRequest{Subject: args[0]}, e); err != nil {
				return err
			}
			if c.asJSON {
				return printProto(c.stdout, e)
			}
			return c.printExplanation(e)
		})
	})
	return cmd
}

// printExplanation writes the summary, what happened, the devices, and what would change it.
func (c *cli) printExplanation(e *messages.Explanation) error {
	fmt.Fprintln(c.stdout, e.Summary)
	if len(e.Reasons) > 0 {
		fmt.Fprintln(c.stdout)
		if err := reasonTable(e.Reasons).print(c.stdout); err != nil {
			return err
		}
	}
	if len(e.Weighed) > 0 {
		fmt.Fprintln(c.stdout)
		if err := weighedTable(e.Weighed).print(c.stdout); err != nil {
			return err
		}
	}
	if len(e.WouldChange) == 0 {
		return nil
	}
	fmt.Fprintln(c.stdout, "\nto change this:")
	for _, change := range e.WouldChange {
		if _, err := fmt.Fprintln(c.stdout, "  - "+change); err != nil {
			return err
		}
	}
	return nil
}

func reasonTable(reasons []*messages.Reason) *table {
	t := &table{columns: []string{"AT", "#", "ENTITY", "EVENT", "WHY"}}
	for _, r := range reasons {
		sequence := ""
		if r.Sequence > 0 {
			sequence = strconv.FormatUint(r.Sequence, 10)
		}
		at := r.At
		if when, err := time.Parse(time.RFC3339Nano, r.At); err == nil {
			at = when.Local().Format("2006-01-02 15:04:05.000")
		}
		t.add(at, sequence, nameOf(r.Actor), r.Event, r.Text)
	}
	return t
}

func weighedTable(weighed []*messages.Weighed) *table {
	t := &table{columns: []string{"DEVICE", "CHOSEN", "WHY"}}
	for _, w := range weighed {
		chosen := "no"
		if w.Chosen {
			chosen = "yes"
		}
		t.add(nameOf(w.Gpu), chosen, w.Text)
	}
	return t
}

// nameOf is an entity's name without kind and host.
func nameOf(actor string) string {
	id, err := messages.ParseActorID(actor)
	if err != nil || id.Name() == "" {
		return actor
	}
	return id.Name()
}
