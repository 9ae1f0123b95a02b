package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"modelops/messages"
)

func (c *cli) psCommand() *cobra.Command {
	var host string
	cmd := &cobra.Command{
		Use: "ps", Args: cobra.NoArgs,
		Short: "List the models that are loaded or being loaded",
		RunE: c.asks(shortWait, func(ctx context.Context, k *client, _ []string) error {
			resident, err := k.ListResident(askedOf(ctx, host), nil)
			if err != nil {
				return err
			}
			resident.Models, resident.Hosts = narrowed(resident.Models, host), narrowed(resident.Hosts, host)
			return show(c, resident, func(l *messages.ResidentList) error {
				defer c.printStale(l.Hosts)
				return c.printResident(l.Models, l.Hosts, c.now())
			})
		}),
	}
	hostFlag(cmd, &host, "only the models of this host")
	return cmd
}

func (c *cli) printResident(models []*messages.ModelView, said []*messages.HostSaid, now time.Time) error {
	if len(models) == 0 {
		fmt.Fprintln(c.stdout, "no model is loaded; `modelops models` lists what can be loaded")
		return nil
	}
	hosts := tellsHosts(models, said)
	t := table{columns: at(hosts, "HOST", "NAME", "PHASE", "DEVICE", "MEMORY", "ACTIVE", "QUEUED", "SINCE", "PINNED", "PID")}
	for _, m := range models {
		pid := ""
		if w := m.Worker; w != nil && !w.Remote {
			pid = strconv.FormatInt(w.Pid, 10)
		}
		t.add(at(hosts, m.Host, m.Name, m.Phase.String(), deviceOf(m), modelMemory(m), strconv.Itoa(int(m.Active)), strconv.Itoa(int(m.Queued)), ago(now, m.ReadyMs), pinOf(m, now), pid)...)
	}
	c.paint(&t, len(t.columns)-8)
	return t.print(c.stdout)
}

// deviceOf is the device's name within its host, or those of a split model's devices.
func deviceOf(m *messages.ModelView) string {
	var names []string
	for _, part := range m.GetPlacement().GetShares() {
		if id, err := messages.ParseActorID(part.Gpu); err == nil {
			names = append(names, id.Name())
		}
	}
	return strings.Join(names, "+")
}

// modelMemory is the measured memory of a model, or what is reserved for it until it is measured, with the source of the figure.
func modelMemory(m *messages.ModelView) string {
	if m.MeasuredBytes > 0 && m.GetPlacement().GetDeviceKind() != "simulated" { // where nothing is measured
		return messages.FormatBytes(m.MeasuredBytes) + " measured"
	}
	if held := m.GetPlacement().Bytes(); held > 0 {
		return messages.FormatBytes(held) + " " + cmp.Or(m.GetPlacement().GetSource(), "held")
	}
	return ""
}

func (c *cli) modelsCommand() *cobra.Command {
	var all bool
	var host string
	cmd := &cobra.Command{
		Use: "models", Aliases: []string{"list", "ls"}, Args: cobra.NoArgs,
		Short: "List the models that can be requested",
		RunE: c.asks(shortWait, func(ctx context.Context, k *client, _ []string) error {
			s, err := k.GetStatus(askedOf(ctx, host), nil)
			if err != nil {
				return err
			}
			if !all {
				s.Models = slices.DeleteFunc(s.Models, func(m *messages.ModelView) bool { return m.GetSpec().GetUnlisted() })
			}
			s.Models, s.Hosts = narrowed(s.Models, host), narrowed(s.Hosts, host)
			if c.asJSON {
				return printJSON(c.stdout, withHosts(s.Hosts, map[string]any{"models": list[*messages.ModelView](s.Models)}))
			}
			defer c.printStale(s.Hosts)
			return c.printModels(s, c.now())
		}),
	}
	hostFlag(cmd, &host, "only the models of this host")
	cmd.Flags().BoolVar(&all, "all", false, "also those that are declared with unlisted: true")
	return cmd
}

func (c *cli) printModels(s *messages.StatusView, now time.Time) error {
	models, routes := s.Models, s.GetHost().GetRoutes()
	if len(models) == 0 {
		fmt.Fprintln(c.stdout, "no model is declared; add one to cluster.yaml, or run `modelops load NAME --path FILE`")
		return nil
	}
	hosts := tellsHosts(models, s.Hosts)
	t := table{columns: at(hosts, "HOST", "NAME", "PHASE", "RUNTIME", "BREAKER", "PINNED", "ALIASES", "SOURCE")}
	for _, m := range models {
		s := m.GetSpec()
		t.add(at(hosts, m.Host, m.Name, m.Phase.String(), cmp.Or(s.GetRuntime(), "by its file"), m.Breaker.String(), pinOf(m, now), strings.Join(s.GetAliases(), ","), cameFrom(s))...)
	}
	c.paint(&t, len(t.columns)-6)
	if err := t.print(c.stdout); err != nil {
		return err
	}
	for _, m := range models {
		if names := namesAt(m.Name, routes); names != "" {
			fmt.Fprintf(c.stdout, "%s answers %s; see `modelops swap`\n", m.Name, names)
		}
		if m.Differs != "" {
			fmt.Fprintf(c.stdout, "%s on %s serves no request of this host: %s\n", m.Name, m.Host, m.Differs)
		}
		if m.Error != nil && m.Phase != messages.ModelView_ready {
			fmt.Fprintf(c.stdout, "%s: %s\n", m.Name, m.Error.Message)
		}
	}
	return nil
}

// cameFrom is a model's source: its file, the first line of its command, or its URL.
func cameFrom(s *messages.ModelSpec) string {
	switch {
	case s.GetCmd() != "":
		line, _, _ := strings.Cut(strings.TrimSpace(s.GetCmd()), "\n")
		return line
	case s.GetPath() != "":
		return s.GetPath()
	}
	return s.GetUrl()
}

// namesAt lists the names that are routed to a model; a name that sends only a share of its requests there, as a trial, has that share.
func namesAt(model string, routes []*messages.Route) string {
	var out []string
	for _, r := range routes {
		switch model {
		case r.To:
			out = append(out, r.Name)
		case r.Canary:
			out = append(out, fmt.Sprintf("%s (%d %%)", r.Name, r.SharePct))
		}
	}
	return strings.Join(out, ",")
}
