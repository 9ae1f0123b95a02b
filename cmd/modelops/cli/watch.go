package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"modelops/journal"
	"modelops/messages"
)

func (c *cli) watchCommand() *cobra.Command {
	var only filter
	q := &messages.WatchRequest{}
	cmd := &cobra.Command{
		Use: "watch", Args: cobra.NoArgs,
		Short: "Print new decisions of every host as they come",
		Long: "watch prints the events of the whole cluster from now on, each with its host: a decision behind the one of another host that caused it. Any\n" +
			"host tells of all, a tenth of a second after a decision was made. `modelops journal tail` shows earlier ones.",
		Example: "  modelops watch\n  modelops watch --host pc2 --type model",
		RunE: act(func(ctx context.Context, _ []string) error {
			opening, cancel := c.within(ctx, shortWait)
			defer cancel()
			k, err := c.dial(opening)
			if err != nil {
				return err
			}
			defer k.close()
			q.Actor = only.actor
			c.manyHosts = true
			return c.watch(ctx, k, q, only)
		}),
	}
	hostFlag(cmd, &q.Host, "only decisions of this host")
	c.filterFlags(cmd, &only)
	return cmd
}

// watchLost is how long the daemon may give no answer, and watchAgain the pause before it is asked again.
const (
	watchLost  = 10 * time.Second
	watchAgain = 200 * time.Millisecond
	watchWait  = 10 * time.Second // a question that waits for the next decision
)

// watch prints decisions as they come, until ctx ends or the daemon gives no answer.
func (c *cli) watch(ctx context.Context, k *client, q *messages.WatchRequest, only filter) error {
	q.Stored, q.WaitMs = true, 0 // the first answer says at once what is wrong with the question
	for answered := time.Now(); ; {
		a, err := k.Watch(ctx, q)
		switch {
		case ctx.Err() != nil:
			return messages.AsError(ctx.Err())
		case messages.CodeOf(err) == messages.Unavailable && q.WaitMs > 0 && time.Since(answered) < watchLost:
			if !pause(ctx, watchAgain) {
				return messages.AsError(ctx.Err())
			}
			continue
		case err != nil:
			return err
		}
		answered, q.After, q.WaitMs = time.Now(), a.Next, uint32(watchWait.Milliseconds())
		for _, d := range a.Decisions {
			r, err := journal.FromStored(d)
			if err != nil {
				return err
			}
			r.Events, _ = r.Decision.Open() // events that this build doesn't know are shown by their names
			if !only.takes(r) {
				continue
			}
			if err := c.printRecorded(d.Host, r); err != nil {
				return err
			}
		}
	}
}
