package cli

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"modelops/messages"
)

func (c *cli) queueCommand() *cobra.Command {
	var host string
	cmd := &cobra.Command{
		Use: "queue [MODEL]", Args: cobra.MaximumNArgs(1),
		Short: "List the running and waiting requests",
		Long: "queue lists the running and waiting requests of the daemon's host, and of the others of its cluster: model, priority class, caller (the name of the API key), position in\n" +
			"the model's queue, time waited, expected time to wait, and what the request waits for: a free slot at the model, or the phase of a\n" +
			"model that is being loaded. MODEL, a name or an alias, lists only the requests of that model.",
		Example:           "  modelops queue\n  modelops queue qwen3:8b --json",
		ValidArgsFunction: c.completeModels(1),
		RunE: c.asks(shortWait, func(ctx context.Context, k *client, args []string) error {
			q, err := k.GetQueue(askedOf(ctx, host), nil)
			if err != nil {
				return err
			}
			if len(args) == 1 {
				name, err := k.modelName(ctx, args[0])
				if err != nil {
					return err
				}
				q.Requests = requestsOf(q, name)
			}
			q.Requests, q.Hosts = narrowed(q.Requests, host), narrowed(q.Hosts, host)
			return show(c, q, func(q *messages.QueueView) error { return c.printQueue(q, host) })
		}),
	}
	hostFlag(cmd, &host, "only the requests that came in at this host")
	return cmd
}

func requestsOf(q *messages.QueueView, model string) []*messages.QueuedRequest {
	var out []*messages.QueuedRequest
	for _, r := range q.Requests {
		if r.Model == model {
			out = append(out, r)
		}
	}
	return out
}

// printQueue lists requests, and what runs and waits on one host; empty = the one that answers.
func (c *cli) printQueue(q *messages.QueueView, host string) error {
	defer c.printStale(q.Hosts)
	if len(q.Requests) == 0 {
		fmt.Fprintln(c.stdout, "there are no requests")
		return nil
	}
	hosts := len(q.Hosts) > 0
	t := table{columns: at(hosts, "HOST", "MODEL", "REQUEST", "STATE", "CLASS", "CALLER", "PLACE", "WAITED", "EXPECTED", "WAITS FOR")}
	for _, r := range q.Requests {
		place, expected := "", ""
		if r.Position > 0 {
			place, expected = strconv.Itoa(int(r.Position)), "unknown"
			if r.ExpectedMs > 0 {
				expected = lasting(time.Duration(r.ExpectedMs) * time.Millisecond)
			}
		}
		t.add(at(hosts, r.Host, r.Model, r.RequestId, r.State, r.Class, r.Caller, place, lasting(time.Duration(r.WaitedMs)*time.Millisecond), expected, r.WaitsFor)...)
	}
	c.paint(&t, len(t.columns)-7)
	if err := t.print(c.stdout); err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "on %s: %s, %s\n", cmp.Or(host, "this host"), outOf("running", q.Active, q.MaxActive), outOf("waiting", q.Queued, q.MaxQueued))
	return nil
}

// outOf is a number and its bound; a bound of 0 is none.
func outOf(state string, n, most uint32) string {
	text := fmt.Sprintf("%d %s", n, state)
	if most > 0 {
		text += fmt.Sprintf(" of %d", most)
	}
	return strings.TrimSpace(text)
}
