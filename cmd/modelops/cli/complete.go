package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// completeWait is how long a person who pressed tab waits for a daemon.
const completeWait = 500 * time.Millisecond

// completeModels offers the daemon's models for the first n arguments, and nothing when no daemon answers.
func (c *cli) completeModels(n int) cobra.CompletionFunc {
	return c.completeFrom(n, func(s *messages.StatusView) []cobra.Completion {
		var out []cobra.Completion
		for _, m := range s.Models {
			out = append(out, cobra.CompletionWithDesc(m.Name, m.Phase))
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
		defer k.Close()
		s, err := k.status(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return offer(s), cobra.ShellCompDirectiveNoFileComp
	}
}

// asked is the frame of a command that asks the daemon one thing.
func (c *cli) asked(ctx context.Context, wait time.Duration, f func(ctx context.Context, k *Client) error) error {
	if c.timeout < 0 {
		return messages.NewError(messages.InvalidArgument, "--timeout", "it is negative").WithHint("leave it out for the default")
	}
	ctx, cancel := c.within(ctx, wait)
	defer cancel()
	k, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer k.Close()
	return f(ctx, k)
}

// query asks for m and prints it as JSON, or as people want it.
func query[M proto.Message](c *cli, subject string, m M, print func(M) error) func(*cobra.Command, []string) error {
	return act(func(ctx context.Context, _ []string) error {
		return c.asked(ctx, shortWait, func(ctx context.Context, k *Client) error {
			if err := k.askFor(ctx, subject, nil, m); err != nil {
				return err
			}
			if c.asJSON {
				return printProto(c.stdout, m)
			}
			return print(m)
		})
	})
}
