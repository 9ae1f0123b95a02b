package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"modelops/messages"
)

func (c *cli) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Args: cobra.NoArgs,
		Short: "Show the daemon and its host",
		RunE: c.asks(shortWait, func(ctx context.Context, k *client, _ []string) error {
			s, err := k.GetStatus(ctx, nil)
			if err != nil {
				return err
			}
			return show(c, s, c.printStatus)
		}),
	}
}

func (c *cli) printStatus(s *messages.StatusView) error {
	h := s.GetHost()
	rows := [][2]string{
		{"host", h.GetHost()},
		{"version", s.Version},
		{"up", lasting(time.Duration(s.UptimeMs) * time.Millisecond)},
		{"boot", fmt.Sprintf("%d (%s)", h.GetBoots(), h.GetBootId())},
		{"configuration", h.GetConfigRevision()},
		{"journal", fmt.Sprintf("sequence %d", s.JournalSequence)},
		{"models", phases(s.Models, s.Hosts)},
	}
	for _, g := range s.Gpus {
		if g.Host != "" && g.Host != h.GetHost() { // its own status shows it
			continue
		}
		if g.Lost {
			rows = append(rows, [2]string{"device", fmt.Sprintf("%s, %s can't be used: %s", g.Device, deviceName(g), g.LostReason)})
			continue
		}
		rows = append(rows, [2]string{"device", fmt.Sprintf("%s, %s: %s of %s free", g.Device, deviceName(g), messages.FormatBytes(g.FreeBytes), messages.FormatBytes(g.LimitBytes))})
	}
	for _, o := range s.Hosts {
		rows = append(rows, [2]string{"other host", otherHost(o)})
	}
	for _, down := range h.GetGaveUp() {
		rows = append(rows, [2]string{"down", down + " crashed too often and was given up"})
	}
	for _, r := range rows {
		if _, err := fmt.Fprintf(c.stdout, "%-14s %s\n", r[0], r[1]); err != nil {
			return err
		}
	}
	return nil
}

// otherHost is what another host said last, and how old it is.
func otherHost(o *messages.HostSaid) string {
	said := fmt.Sprintf("%s, said %s ago: %d running, %d waiting", o.Host, lasting(time.Duration(o.AgeMs)*time.Millisecond), o.Active, o.Queued)
	if o.Stale {
		said += "; it can't be reached"
	}
	return said
}

// phases counts models: "2 ready, 1 absent". Nobody knows the phase of one whose host can't be reached.
func phases(models []*messages.ModelView, said []*messages.HostSaid) string {
	order := []string{"ready", "falling_asleep", "asleep", "waking", "loading", "placing", "waiting", "draining", "stopping", "failed", "absent", messages.MemberView_unreachable.String()}
	n := map[string]int{}
	for _, m := range models {
		n[messages.StateNow(m, said)]++
	}
	var out []string
	for _, p := range order {
		if n[p] > 0 {
			out = append(out, fmt.Sprintf("%d %s", n[p], p))
		}
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

func (c *cli) healthCommand() *cobra.Command {
	return &cobra.Command{
		Use: "health", Args: cobra.NoArgs,
		Short: "Check whether the daemon makes progress; exit code 1 if not",
		RunE:  c.asks(shortWait, func(ctx context.Context, k *client, _ []string) error { return c.health(ctx, k) }),
	}
}

func (c *cli) health(ctx context.Context, k *client) error {
	// An unhealthy daemon answers with an error in the headers and with the details in the body.
	m, err := k.ask(ctx, "health", nil)
	if m == nil {
		return err
	}
	var h struct {
		OK              *bool    `json:"ok"`
		OldestUndecided int64    `json:"oldest_undecided_ms"`
		JournalLag      uint64   `json:"journal_lag"`
		Reasons         []string `json:"reasons"`
	}
	if bad := json.Unmarshal(m.Data, &h); bad != nil || h.OK == nil {
		return err
	}
	if c.asJSON {
		if err := printRaw(c.stdout, m.Data); err != nil {
			return err
		}
	} else if *h.OK {
		fmt.Fprintf(c.stdout, "ok (oldest undecided request %s, journal lag %d)\n", lasting(time.Duration(h.OldestUndecided)*time.Millisecond), h.JournalLag)
		for _, reason := range h.Reasons {
			fmt.Fprintln(c.stdout, reason)
		}
	} else {
		fmt.Fprintln(c.stdout, "not ok: "+strings.Join(h.Reasons, "; "))
	}
	if !*h.OK {
		return quietExit(exitNo)
	}
	return nil
}
