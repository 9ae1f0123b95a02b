package cli

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"modelops/bridges/certs/join"
	"modelops/messages"
)

func (c *cli) clusterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "cluster", Args: cobra.NoArgs,
		Short: "List the hosts of the cluster, and what each said last",
		Long: "cluster lists the hosts of the cluster as this one sees them. HEARD is how long ago a host was heard, LINK whether the connections to it and from\n" +
			"it are up, \"standby\" that a second daemon waits to take its place, \"wakes\" that a packet to its network card wakes it, CLOCK how far its clock is ahead of this one's,\n" +
			"JOURNAL its last decision, COPIED the last one of it that is copied here, and how far that is behind. A host that is unreachable may work on.",
		RunE: c.asks(shortWait, func(ctx context.Context, k *client, _ []string) error {
			v, err := k.GetCluster(ctx, nil)
			if err != nil {
				return err
			}
			return show(c, v, c.printCluster)
		}),
	}
	cmd.AddCommand(c.clusterInitCommand(), c.clusterInviteCommand(), c.clusterRemoveCommand())
	return cmd
}

func (c *cli) printCluster(v *messages.ClusterView) error {
	t := table{columns: []string{"HOST", "STATE", "VERSION", "ADDRESS", "HEARD", "LINK", "RTT", "CLOCK", "GENERATION", "JOURNAL", "COPIED", "ARBITER"}}
	for _, m := range v.Members {
		t.add(memberRow(m)...)
	}
	c.paint(&t, 1)
	if err := t.print(c.stdout); err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "the arbiter of %s places models (epoch %d)\n", cmp.Or(v.Arbiter, "no host"), v.ArbiterEpoch)
	for _, m := range v.Members {
		if m.Reason != "" {
			fmt.Fprintf(c.stdout, "%s: %s\n", m.Host, m.Reason)
		}
	}
	if h := v.Hub; h != nil {
		fmt.Fprintf(c.stdout, "hub %s: %s\n", strings.Join(h.Urls, ", "), hubState(h))
		if a := h.Archive; a != nil {
			fmt.Fprintf(c.stdout, "archive at the hub: %s\n", archiveState(a))
		}
	}
	for _, note := range v.Notes {
		fmt.Fprintln(c.stdout, "note: "+note)
	}
	return nil
}

func memberRow(m *messages.MemberView) []string {
	state := m.State.String()
	if m.Draining {
		state += ", draining"
	}
	if m.Standby {
		state += ", standby"
	}
	if m.Wakes {
		state += ", wakes"
	}
	row := []string{m.Host, state, cmp.Or(m.Version, "-"), cmp.Or(m.Address, "-")}
	if m.Self {
		return append(row, "this host", "-", "-", "-", "-", strconv.FormatUint(m.Sequence, 10), "-", cmp.Or(m.Arbiter, "-"))
	}
	heard, rtt, clock := "-", "-", "-"
	if m.BootId != "" {
		heard = lasting(time.Duration(m.HeardMs) * time.Millisecond)
		clock = fmt.Sprintf("%+dms", m.ClockOffsetMs)
	}
	if m.RttUs > 0 {
		rtt = (time.Duration(m.RttUs) * time.Microsecond).String()
	}
	return append(row, heard, linkOf(m), rtt, clock, strconv.FormatUint(m.Generation, 10), strconv.FormatUint(m.Sequence, 10), copiedOf(m), cmp.Or(m.Arbiter, "-"))
}

// hubState says whether the host is connected to its hub.
func hubState(h *messages.HubView) string {
	if h.Reached {
		return "reached"
	}
	return "not reached: " + h.Reason
}

// archiveState says how far the hub's copy of the journal is.
func archiveState(a *messages.ArchiveView) string {
	switch {
	case a.Note != "":
		return fmt.Sprintf("%d of %d decisions (%d behind); %s", a.Archived, a.Sequence, a.Sequence-min(a.Archived, a.Sequence), a.Note)
	case a.Stream == "":
		return "not found yet"
	}
	return fmt.Sprintf("%d of %d decisions, in stream %s", a.Archived, a.Sequence, a.Stream)
}

// copiedOf is how far the copy of a member's journal is: its last sequence, how many it lacks, and since when.
func copiedOf(m *messages.MemberView) string {
	if m.Sequence <= m.Copied {
		return strconv.FormatUint(m.Copied, 10)
	}
	if m.CopyAgeMs == 0 { // nothing was copied yet
		return fmt.Sprintf("%d (%d behind)", m.Copied, m.Sequence-m.Copied)
	}
	return fmt.Sprintf("%d (%d behind for %s)", m.Copied, m.Sequence-m.Copied, lasting(time.Duration(m.CopyAgeMs)*time.Millisecond))
}

// linkOf says which of the two connections between this host and a member are up.
func linkOf(m *messages.MemberView) string {
	hub := ""
	if m.ByHub {
		hub = ", by hub"
	}
	switch {
	case m.LinkTo && m.LinkFrom:
		return "both" + hub
	case m.LinkTo:
		return "to it" + hub
	case m.LinkFrom:
		return "from it"
	}
	return "down"
}

func (c *cli) clusterInviteCommand() *cobra.Command {
	q := &messages.InviteRequest{}
	var lasts time.Duration
	cmd := &cobra.Command{
		Use: "invite", Args: cobra.NoArgs,
		Short:   "Make a token with which another host joins, once",
		Long:    "invite makes a token that admits one host to the cluster, once, until it expires. It prints the command to run on that host.",
		Example: "  modelops cluster invite --host pc2",
	}
	cmd.Flags().StringVar(&q.Host, "host", "", "the only host that may use it")
	cmd.Flags().DurationVar(&lasts, "ttl", 15*time.Minute, "how long it is good for")
	cmd.RunE = act(func(ctx context.Context, _ []string) (err error) {
		if lasts <= 0 || lasts > join.Longest { // 0 would mean the usual time to the daemon
			return messages.Errorf(messages.InvalidArgument, "--ttl", "a token can't last %s", lasts).WithHint("a week at most; 15m is usual")
		}
		if q.WithinSeconds, err = wholeSeconds("--ttl", lasts, "15m is usual"); err != nil {
			return err
		}
		return c.asked(ctx, shortWait, func(ctx context.Context, k *client) error {
			r, err := k.InviteHost(ctx, q)
			if err != nil {
				return err
			}
			return show(c, r, func(r *messages.InviteReply) error {
				_, err := fmt.Fprintf(c.stdout, "on the other host, until %s:\n\n  %s\n", clock(time.UnixMilli(r.ExpiresMs), c.now()), r.Command)
				return err
			})
		})
	})
	return cmd
}

// clock is a moment that is to come, with its day unless that is today.
func clock(at, now time.Time) string {
	if at.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return at.Format(time.TimeOnly)
	}
	return at.Format(time.DateTime)
}

func (c *cli) clusterRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "remove HOST", Args: cobra.ExactArgs(1),
		Short: "Forget a host for good, and say what becomes of its models",
		Long: "remove ends the membership of a host: its certificate is refused from then on, by every host that hears of it. Its own models and its journal stay on it;\n" +
			"it works alone. The host may be invited again.",
		RunE: c.asks(shortWait, func(ctx context.Context, k *client, args []string) error {
			r, err := k.RemoveHost(ctx, &messages.RemoveMemberRequest{Host: args[0]})
			if err != nil {
				return err
			}
			return show(c, r, func(r *messages.RemoveMemberReply) error {
				_, err := fmt.Fprintln(c.stdout, strings.Join(append([]string{r.Host + " is no member any more"}, r.Consequences...), "\n"))
				return err
			})
		}),
	}
}
