package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
)

const (
	shortWait = 10 * time.Second // for questions
	longWait  = 10 * time.Minute // for loads and inference
)

// within bounds a command by --timeout, or by its own default.
func (c *cli) within(ctx context.Context, own time.Duration) (context.Context, context.CancelFunc) {
	if c.timeout > 0 {
		own = c.timeout
	}
	return context.WithTimeout(ctx, own)
}

// asks is the RunE of a command that only asks the daemon. A command that checks its flags first uses act and asked, so that a mistake
// is reported without a daemon too.
func (c *cli) asks(wait time.Duration, f func(ctx context.Context, k *client, args []string) error) func(*cobra.Command, []string) error {
	return act(func(ctx context.Context, args []string) error {
		return c.asked(ctx, wait, func(ctx context.Context, k *client) error { return f(ctx, k, args) })
	})
}

// asked connects to the daemon and runs f. The context of f ends after --timeout, or after wait; the connection is closed when f returns.
func (c *cli) asked(ctx context.Context, wait time.Duration, f func(ctx context.Context, k *client) error) error {
	ctx, cancel := c.within(ctx, wait)
	defer cancel()
	k, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer k.close()
	return f(ctx, k)
}

// show prints a reply: as JSON with --json, otherwise in words.
func show[M proto.Message](c *cli, reply M, words func(M) error) error {
	if c.asJSON {
		return printProto(c.stdout, reply)
	}
	return words(reply)
}
