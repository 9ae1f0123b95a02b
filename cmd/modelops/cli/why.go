package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"modelops/messages"
)

func (c *cli) whyCommand() *cobra.Command {
	var host string
	cmd := &cobra.Command{
		Use: "why MODEL|REQUEST|LEASE", Args: cobra.ExactArgs(1),
		Short: "Explain the placement and the state of a model, a request or a lease",
		Long: "why explains, from the journal, why a model is where it is: which decision placed it, why each other device was rejected, which models were\n" +
			"evicted to make room, why it waits or failed, and what would change that. The argument is the name or alias of a model, the id of a lease or a\n" +
			"placement (`modelops gpus --leases`), or the id of a request (X-Request-Id). If a model has the same name, write lease/ID, placement/ID or\n" +
			"request/ID. Column # is the sequence in the journal.\n\n" +
			"In a cluster every host explains the models of all hosts, HOST/NAME or --host says which. While the host of a model is off, the copy of its\n" +
			"journal answers, and the first line says how old that is.",
		Example:           "  modelops why tiny\n  modelops why tiny --host pc2\n  modelops why 0e6f0c1e-8a55-4b0e-9f6e-2f0a6a4c5e6d\n  modelops why request/my-id --json",
		ValidArgsFunction: c.completeModels(1),
		RunE: c.asks(shortWait, func(ctx context.Context, k *client, args []string) error {
			e, err := k.Why(ctx, &messages.WhyRequest{Subject: args[0], Host: host})
			if err != nil {
				return err
			}
			return show(c, e, func(e *messages.Explanation) error {
				if own, err := k.host(ctx); err == nil && e.Host != "" && e.Host != own && e.Host == e.SaidBy { // else the summary names it
					fmt.Fprintf(c.stdout, "%s says: ", e.Host)
				}
				return c.printExplanation(e)
			})
		}),
	}
	hostFlag(cmd, &host, "the model, request or lease of this host")
	return cmd
}

// printExplanation writes the summary, the reasons, the devices that were considered, and what would change the result.
func (c *cli) printExplanation(e *messages.Explanation) error {
	fmt.Fprintln(c.stdout, e.Summary)
	for _, k := range e.Copies {
		if k.Copied < k.Told && k.Host != e.Host {
			fmt.Fprintf(c.stdout, "%s has the journal of %s up to decision %d of %d, as of %s ago\n", e.SaidBy, k.Host, k.Copied, k.Told, lasting(time.Duration(k.AgeMs)*time.Millisecond))
		}
	}
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
	many := several(reasons)
	if many {
		t.columns = at(true, "HOST", t.columns...)
	}
	for _, r := range reasons {
		sequence := ""
		if r.Sequence > 0 {
			sequence = strconv.FormatUint(r.Sequence, 10)
		}
		said := r.At
		if when, err := time.Parse(time.RFC3339Nano, r.At); err == nil {
			said = when.Local().Format("2006-01-02 15:04:05.000")
		}
		t.add(at(many, r.Host, said, sequence, nameOf(r.Actor), r.Event, r.Text)...)
	}
	return t
}

func weighedTable(weighed []*messages.Weighed) *table {
	many := slices.ContainsFunc(weighed, func(w *messages.Weighed) bool { return hostOf(w.Gpu) != hostOf(weighed[0].Gpu) })
	t := &table{columns: at(many, "HOST", "DEVICE", "CHOSEN", "WHY")}
	for _, w := range weighed {
		chosen := "no"
		if w.Chosen {
			chosen = "yes"
		}
		t.add(at(many, hostOf(w.Gpu), nameOf(w.Gpu), chosen, w.Text)...)
	}
	return t
}
