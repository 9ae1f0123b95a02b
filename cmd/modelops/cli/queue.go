package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"modelops/messages"
)

func (c *cli) queueCommand() *cobra.Command {
	return &cobra.Command{
		Use: "queue [MODEL]", Args: cobra.MaximumNArgs(1),
		Short: "Show which requests run and wait, and how long they will",
		Long: "queue lists the requests that run and wait on the daemon's host: their model, priority class and caller (the name of the API\n" +
			"key), their place in the model's queue, how long they have waited and are expected to wait still, and what for: a place at\n" +
			"the model, or the model's phase while it is being loaded. With MODEL, a name or an alias, only that model's.",
		Example:           "  modelops queue\n  modelops queue qwen3:8b --json",
		ValidArgsFunction: c.completeModels(1),
		RunE: act(func(ctx context.Context, args []string) error {
			return c.asked(ctx, shortWait, func(ctx context.Context, k *Client) error {
				q := &messages.QueueView{}
				if err := k.askFor(ctx, "queue", nil, q); err != nil {
					return err
				}
				if len(args) == 1 {
					name, err := k.nameOf(ctx, args[0])
					if err != nil {
						return err
					}
					q.Requests = requestsOf(q, name)
				}
				if c.asJSON {
					return printProto(c.stdout, q)
				}
				return c.printQueue(q)
			})
		}),
	}
}

// nameOf resolves an alias. An unknown name is ModelNotFound.
func (k *Client) nameOf(ctx context.Context, name string) (string, error) {
	s, err := k.status(ctx)
	if err != nil {
		return "", err
	}
	m := modelIn(s, name)
	if m == nil {
		return "", messages.Errorf(messages.ModelNotFound, name, "Model '%s' not found", name).WithHint("modelops models lists what there is")
	}
	return m.Name, nil
}

// modelIn finds a model by name or alias; nil when there is none.
func modelIn(s *messages.StatusView, name string) *messages.ModelView {
	var found *messages.ModelView
	for _, m := range s.Models {
		if m.Name == name {
			return m
		}
		for _, alias := range m.GetSpec().GetAliases() {
			if alias == name {
				found = m
			}
		}
	}
	return found
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

func (c *cli) printQueue(q *messages.QueueView) error {
	if len(q.Requests) == 0 {
		fmt.Fprintln(c.stdout, "no request runs or waits")
		return nil
	}
	t := table{columns: []string{"MODEL", "REQUEST", "STATE", "CLASS", "CALLER", "PLACE", "WAITED", "EXPECTED", "WAITS FOR"}}
	for _, r := range q.Requests {
		place, expected := "", ""
		if r.Position > 0 {
			place, expected = strconv.Itoa(int(r.Position)), lasting(time.Duration(r.ExpectedMs)*time.Millisecond)
		}
		t.add(r.Model, r.RequestId, r.State, r.Class, r.Caller, place, lasting(time.Duration(r.WaitedMs)*time.Millisecond), expected, r.WaitsFor)
	}
	c.paint(&t, 2)
	if err := t.print(c.stdout); err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "on this host %s, %s\n", outOf("running", q.Active, q.MaxActive), outOf("waiting", q.Queued, q.MaxQueued))
	return nil
}

// outOf says how many there are and how many may be; 0 is no bound.
func outOf(state string, n, most uint32) string {
	text := fmt.Sprintf("%d %s", n, state)
	if most > 0 {
		text += fmt.Sprintf(" of %d", most)
	}
	return strings.TrimSpace(text)
}
