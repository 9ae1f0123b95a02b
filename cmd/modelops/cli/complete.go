package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"modelops/messages"
)

// completeWait bounds how long the completion of a word waits for a daemon.
const completeWait = 500 * time.Millisecond

// completeModels offers the daemon's models for the first n arguments, and nothing when no daemon answers.
func (c *cli) completeModels(n int) cobra.CompletionFunc {
	return c.completeFrom(n, func(s *messages.StatusView) []cobra.Completion {
		var out []cobra.Completion
		for _, m := range s.Models {
			out = append(out, cobra.CompletionWithDesc(m.Name, m.Phase.String()))
		}
		return out
	})
}

// completeActors offers the identities of actors.
func (c *cli) completeActors() cobra.CompletionFunc {
	return c.completeFrom(1, func(s *messages.StatusView) []cobra.Completion {
		return append([]cobra.Completion{messages.ArbiterActor().String(), messages.KindGateway}, shownActors(s)...)
	})
}

func (c *cli) completeFrom(n int, offer func(*messages.StatusView) []cobra.Completion) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= n {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeWait)
		defer cancel()
		k, err := c.dial(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer k.close()
		s, err := k.GetStatus(ctx, nil)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return offer(s), cobra.ShellCompDirectiveNoFileComp
	}
}
