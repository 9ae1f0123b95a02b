package cli

import (
	"cmp"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"modelops/messages"
)

func (c *cli) lineageCommand() *cobra.Command {
	r := &messages.LineageRequest{}
	cmd := &cobra.Command{
		Use: "lineage MODEL", Args: cobra.ExactArgs(1),
		Short: "Show the versions that goals made of a model",
		Long: "lineage shows what each version of a model was made from, its figures, what became of it, and which one serves. Versions that didn't win stay as long as\n" +
			"learning.keep_versions says; their records stay for good.",
		ValidArgsFunction: c.completeModels(1),
		RunE: c.asks(shortWait, func(ctx context.Context, k *client, args []string) error {
			r.ModelName = args[0]
			l, err := k.GetLineage(ctx, r)
			if err != nil {
				return err
			}
			return show(c, l, c.printLineage)
		}),
	}
	hostFlag(cmd, &r.Host, "the host that keeps the versions")
	return cmd
}

func (c *cli) printLineage(l *messages.LineageReply) error {
	t := table{columns: []string{"VERSION", "PARENT", "STATE", "RESULT", "FIGURES", "AGAINST", "GOAL", "RECIPE", "SIZE", "MADE"}}
	mark := func(name string) string {
		if name == l.Serving {
			return name + " (serves)"
		}
		return name
	}
	t.add(mark(l.ModelName), "", "", "", "", "", "", "", "", "")
	for _, v := range l.Versions {
		o, size := v.GetOrigin(), ""
		if !v.Removed {
			size = messages.FormatBytes(v.Bytes)
		}
		goal := ""
		if o.GetGoal() != "" {
			goal = fmt.Sprintf("%s, run %d", nameOf(o.Goal), o.Run)
		}
		t.add(mark(v.Name), o.GetParent(), v.State.String(), cmp.Or(v.Result, short(v.GetError().GetMessage())), figuresOf(v.Metrics), v.Against, goal, o.GetRecipe(), size, sinceWhen(c.now(), v.MadeMs))
	}
	if err := t.print(c.stdout); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c.stdout, "%s on disk\n", messages.FormatBytes(l.Bytes))
	return err
}
