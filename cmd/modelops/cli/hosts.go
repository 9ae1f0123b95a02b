package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"modelops/messages"
)

// hostFlag lets a command be about one host of the cluster.
func hostFlag(cmd *cobra.Command, host *string, what string) {
	cmd.Flags().StringVar(host, "host", "", what)
}

// askedOf has what is asked with ctx be answered by one host: a request by its worker, an operation by the host itself.
func askedOf(ctx context.Context, host string) context.Context {
	return messages.WithCaller(ctx, messages.Caller{Only: messages.Only{Host: host}})
}

// narrowed is the part of a list that is of one host; of all without one.
func narrowed[T interface{ GetHost() string }](list []T, host string) []T {
	if host == "" {
		return list
	}
	return slices.DeleteFunc(list, func(v T) bool { return v.GetHost() != host })
}

// several tells whether a list is of more than one host: then a column says which.
func several[T interface{ GetHost() string }](list []T) bool {
	return slices.ContainsFunc(list, func(v T) bool { return v.GetHost() != list[0].GetHost() })
}

// tellsHosts tells whether the hosts of a list are told: it is of several, or others than the one that answers have said something.
func tellsHosts[T interface{ GetHost() string }](list []T, said []*messages.HostSaid) bool {
	return several(list) || len(said) > 0
}

// at puts the host's column in front of the others.
func at(show bool, host string, cells ...string) []string {
	if !show {
		return cells
	}
	return append([]string{host}, cells...)
}

// withHosts adds to what is shown as JSON how old what the other hosts said is.
func withHosts(said []*messages.HostSaid, shown map[string]any) map[string]any {
	if len(said) > 0 {
		shown["hosts"] = list[*messages.HostSaid](said)
	}
	return shown
}

// printStale says which hosts can't be reached, and how old what they said is.
func (c *cli) printStale(hosts []*messages.HostSaid) {
	for _, h := range hosts {
		if h.Stale {
			fmt.Fprintf(c.stdout, "%s can't be reached: what it shows is %s old\n", h.Host, lasting(time.Duration(h.AgeMs)*time.Millisecond))
		}
	}
}
