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

func (c *cli) gpusCommand() *cobra.Command {
	var leases bool
	var host string
	cmd := &cobra.Command{
		Use: "gpus", Aliases: []string{"devices"}, Args: cobra.NoArgs,
		Short: "List the devices and how much of their memory is in use",
		Long: "gpus lists the devices. LIMIT is the memory that may be used: the capacity less the configured margin and soft limit. RESERVED is held\n" +
			"by leases, FOREIGN is used by programs that modelops did not start, FREE can be granted now. USED, UTIL, TEMP and POWER are the\n" +
			"device's latest sample.",
	}
	hostFlag(cmd, &host, "only the devices of this host")
	cmd.Flags().BoolVar(&leases, "leases", false, "list the leases too")
	cmd.RunE = c.asks(shortWait, func(ctx context.Context, k *client, _ []string) error {
		s, err := k.GetStatus(askedOf(ctx, host), nil)
		if err != nil {
			return err
		}
		s.Gpus, s.Hosts = narrowed(s.Gpus, host), narrowed(s.Hosts, host)
		if c.asJSON {
			return printJSON(c.stdout, withHosts(s.Hosts, map[string]any{"gpus": list[*messages.GpuView](s.Gpus), "hints": list[*messages.HintReply](s.Hints)}))
		}
		defer c.printStale(s.Hosts)
		return c.printDevices(s, leases, c.now())
	})
	return cmd
}

// deviceName is the name that the device reports. A simulated device is marked as such.
func deviceName(g *messages.GpuView) string {
	switch {
	case g.Kind != "simulated":
		return g.Name
	case strings.Contains(strings.ToLower(g.Name), "simulated"):
		return g.Name
	}
	return strings.TrimSpace(g.Name + " (simulated)")
}

func (c *cli) printDevices(s *messages.StatusView, leases bool, now time.Time) error {
	gpus := s.Gpus
	if len(gpus) == 0 {
		fmt.Fprintln(c.stdout, "no device is known yet")
		return nil
	}
	hosts := tellsHosts(gpus, s.Hosts)
	t := table{columns: at(hosts, "HOST", "DEVICE", "KIND", "NAME", "CAPACITY", "LIMIT", "RESERVED", "FOREIGN", "FREE", "USED", "UTIL", "TEMP", "POWER")}
	for _, g := range gpus {
		kind := g.Kind
		if g.Lost {
			kind = "lost"
		}
		row := at(hosts, g.Host, g.Device, kind, deviceName(g), mib(g.CapacityBytes), mib(g.LimitBytes), amount(g.ReservedBytes),
			amount(g.ForeignBytes), amount(g.FreeBytes))
		t.add(append(row, sample(g.Reading)...)...)
	}
	c.paint(&t, len(t.columns)-11)
	if err := t.print(c.stdout); err != nil {
		return err
	}
	for _, g := range gpus {
		if g.Lost {
			fmt.Fprintf(c.stdout, "%s can't be used: %s\n", g.Device, g.LostReason)
		}
	}
	for _, h := range s.Hints {
		fmt.Fprintf(c.stdout, "%s on %s are kept free for %s for %s, hinted by %s\n", messages.FormatBytes(h.Bytes), nameOf(h.Gpu), nameOf(h.Model),
			lasting(time.UnixMilli(h.UntilMs).Sub(now)), cmp.Or(h.Owner, anonymousName))
	}
	for _, m := range s.GetDefrag().GetMoves() {
		fmt.Fprintf(c.stdout, "%s is moving from %s to %s\n", nameOf(m.Holder), nameOf(m.From), nameOf(m.To))
	}
	if !leases {
		return nil
	}
	fmt.Fprintln(c.stdout)
	return c.printLeases(gpus, now)
}

// anonymousName stands for a caller without a name.
const anonymousName = "unknown"

// sample is the cells of the latest reading: used memory, utilisation, temperature and power. What a device doesn't measure is empty.
func sample(r *messages.DeviceReading) []string {
	out := []string{mib(r.GetUsedBytes()), "", "", ""}
	if r == nil {
		return out
	}
	out[1] = strconv.Itoa(int(r.UtilizationPct)) + "%"
	if r.TemperatureC > 0 {
		out[2] = strconv.Itoa(int(r.TemperatureC)) + "C"
	}
	if r.PowerWatts > 0 {
		out[3] = fmt.Sprintf("%.0fW", r.PowerWatts)
	}
	return out
}

func (c *cli) printLeases(gpus []*messages.GpuView, now time.Time) error {
	hosts := several(gpus)
	t := table{columns: at(hosts, "HOST", "DEVICE", "HOLDER", "ASKED", "MEASURED", "TTL", "SINCE", "EPOCH", "LEASE")}
	for _, g := range gpus {
		for _, r := range g.Reservations {
			ttl := ""
			if r.TtlSeconds > 0 {
				ttl = lasting(time.Duration(r.TtlSeconds) * time.Second)
			}
			t.add(at(hosts, g.Host, g.Device, r.Holder, mib(r.Bytes), mib(r.MeasuredBytes), ttl, ago(now, r.GrantedMs), strconv.FormatUint(r.Epoch, 10), r.Lease)...)
		}
	}
	if len(t.rows) == 0 {
		fmt.Fprintln(c.stdout, "no lease is held")
		return nil
	}
	return t.print(c.stdout)
}
