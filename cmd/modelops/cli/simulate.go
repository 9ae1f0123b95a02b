package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"modelops/actors/simulator"
	"modelops/messages"
)

// simulation is the flags of simulate.
type simulation struct {
	seed    uint64
	steps   int
	hosts   int
	devices string
	models  string
	policy  string
	rate    float64
	gentle  bool
}

func (c *cli) simulateCommand() *cobra.Command {
	var s simulation
	cmd := &cobra.Command{
		Use: "simulate", Args: cobra.NoArgs,
		Short: "Run the scheduler in virtual time against simulated devices, models and faults",
		Long: "simulate runs the daemon's decision code in virtual time. Requests, loads, evictions, crashes and lost answers are generated from a seed:\n" +
			"the same flags give the same result. After the last step all work must finish by itself. The exit code is 1 if an invariant was violated;\n" +
			"the same seed reproduces it.",
		Example: "  modelops simulate --seed 7 --steps 100000\n  modelops simulate --hosts 4 --steps 100000\n  modelops simulate --devices 24000,24000 --models 4000..20000x12 --policy lru --gentle --json",
	}
	f := cmd.Flags()
	f.Uint64Var(&s.seed, "seed", 1, "seed of all random numbers")
	f.IntVar(&s.steps, "steps", 20000, "number of steps")
	f.IntVar(&s.hosts, "hosts", 1, "number of hosts, up to 32: each has the devices and an arbiter of its own, and their links are cut, slow and lossy")
	f.StringVar(&s.devices, "devices", "24000,24000", "memory of each device in MiB")
	f.StringVar(&s.models, "models", "4000..20000x12", "FROM..TOxN: N models of FROM to TO MiB")
	f.StringVar(&s.policy, "policy", "cost_aware", "which models are evicted first: first_fit, lru or cost_aware")
	f.Float64Var(&s.rate, "rate", 2, "requests per second of virtual time")
	f.BoolVar(&s.gentle, "gentle", false, "no faults; only memory is scarce")
	cmd.RunE = act(func(ctx context.Context, _ []string) error {
		ctx, cancel := c.within(ctx, longWait)
		defer cancel()
		return c.simulate(ctx, s)
	})
	return cmd
}

func (c *cli) simulate(ctx context.Context, s simulation) error {
	o, err := s.options()
	if err != nil {
		return err
	}
	if s.hosts > 1 {
		return c.simulateHosts(ctx, s, o)
	}
	w := simulator.New(o)
	return c.simulated(ctx, w, s.steps, func() error { return c.printSimulation(w.Summary()) })
}

// simulateHosts is simulate with several hosts.
func (c *cli) simulateHosts(ctx context.Context, s simulation, o simulator.Options) error {
	w := simulator.NewCluster(o)
	return c.simulated(ctx, w, s.steps, func() error { return c.printHosts(w.Summary()) })
}

// simulated runs a simulation, has it come to rest, and prints it.
func (c *cli) simulated(ctx context.Context, w interface {
	Run(ctx context.Context, steps int) error
	Calm(ctx context.Context) error
}, steps int, show func() error) error {
	err := w.Run(ctx, steps)
	if err == nil {
		err = w.Calm(ctx)
	}
	var seen *simulator.Violation
	if err != nil && !errors.As(err, &seen) {
		return err
	}
	if err := show(); err != nil {
		return err
	}
	if seen != nil {
		return quietExit(exitNo)
	}
	return nil
}

func (s simulation) options() (simulator.Options, error) {
	o := simulator.Options{Seed: s.seed, Policy: s.policy, Rate: s.rate, Hosts: s.hosts, KeepWarm: 10 * time.Minute}
	if !s.gentle {
		o.Faults, o.Links.Every = simulator.Rough(), 10*time.Second
	}
	switch {
	case s.policy != "first_fit" && s.policy != "lru" && s.policy != "cost_aware":
		return o, messages.Errorf(messages.InvalidArgument, "--policy", "%q is not a policy", s.policy).WithHint("first_fit, lru or cost_aware")
	case !(s.rate > 0 && s.rate <= 1000): // not a number is neither
		return o, messages.NewError(messages.InvalidArgument, "--rate", "it must be above 0 and at most 1000")
	case s.hosts < 1 || s.hosts > 32:
		return o, messages.NewError(messages.InvalidArgument, "--hosts", "it must be between 1 and 32")
	case s.steps < 0:
		return o, messages.NewError(messages.InvalidArgument, "--steps", "it is negative")
	}
	for _, text := range strings.Split(s.devices, ",") {
		mb, err := strconv.ParseUint(strings.TrimSpace(text), 10, 32)
		if err != nil || mb < 1024 {
			return o, messages.Errorf(messages.InvalidArgument, "--devices", "%q is not a device's memory in MiB (at least 1024)", text).WithHint("such as 24000,24000")
		}
		o.Devices = append(o.Devices, mb*messages.MiB)
	}
	var err error
	o.Models, err = s.zoo()
	return o, err
}

// zoo makes the models. The estimate of each differs from its real size by up to 10 %; they load at about 3 GiB/s.
func (s simulation) zoo() ([]simulator.Model, error) {
	var from, to, n uint64
	if got, err := fmt.Sscanf(s.models, "%d..%dx%d", &from, &to, &n); err != nil || got != 3 || from == 0 || to < from || to > 1<<24 || n == 0 || n > 500 {
		return nil, messages.Errorf(messages.InvalidArgument, "--models", "%q isn't FROM..TOxN in MiB, with at most 500 models", s.models).WithHint("such as 4000..20000x12")
	}
	rng := rand.New(rand.NewPCG(s.seed, 0x200))
	var out []simulator.Model
	for i := range n {
		truth := (from + rng.Uint64N(to-from+1)) * messages.MiB
		m := simulator.Model{Name: fmt.Sprintf("m%02d", i), Truth: truth, Estimate: truth / 100 * (90 + rng.Uint64N(20)), Weight: 1 / float64(i+1),
			Load: time.Second + time.Duration(float64(truth)/float64(3*messages.GiB)*float64(time.Second))}
		switch i % 4 {
		case 1:
			m.Idle = 30 * time.Second
		case 2:
			m.MinResidency = 10 * time.Second
		case 3:
			m.MaxReplicas = 2
		}
		out = append(out, m)
	}
	return out, nil
}

func (c *cli) printSimulation(s simulator.Summary) error {
	if c.asJSON {
		return printJSON(c.stdout, s)
	}
	ms := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	var use []string
	for _, u := range s.Utilisation {
		use = append(use, fmt.Sprintf("%.0f %%", 100*u))
	}
	return c.rows([][2]string{
		{"seed", fmt.Sprint(s.Seed)},
		{"steps", fmt.Sprintf("%d in %s of virtual time, %d decisions", s.Steps, ms(int64(s.VirtualSeconds*1000)), s.Decisions)},
		{"requests", fmt.Sprintf("%d, of which %d answered and %d refused", s.Requests, s.Answered, s.Refused)},
		{"swaps", fmt.Sprintf("%d loads, %d evictions, %d out of memory", s.Loads, s.Evictions, s.OutOfMemory)},
		{"crashes", fmt.Sprintf("%d of the coordinator", s.Crashes)},
		{"waits", fmt.Sprintf("p50 %s, p99 %s, max %s; bound %s", ms(s.WaitP50MS), ms(s.WaitP99MS), ms(s.WaitMaxMS), ms(s.BoundMS))},
		{"devices in use", strings.Join(use, ", ")},
		{"violations", cmp.Or(s.Violation, "none")},
	})
}

// printHosts prints what several hosts did: together, and each of them.
func (c *cli) printHosts(s simulator.ClusterSummary) error {
	if c.asJSON {
		return printJSON(c.stdout, s)
	}
	rows := [][2]string{
		{"seed", fmt.Sprint(s.Each[0].Seed)},
		{"steps", fmt.Sprintf("%d in %s of virtual time", s.Steps, time.Duration(s.VirtualSec*float64(time.Second)).Round(time.Millisecond))},
		{"links", fmt.Sprintf("%d troubles, %d take-overs of the seat, %d decisions of two arbiters of one epoch", s.Troubles, s.TakeOvers, s.Equals)},
		{"messages", fmt.Sprintf("%d heartbeats, %d reports, %d questions to actors of other hosts, %d requests passed on", s.Beats, s.Reports, s.Asks, s.Passed)},
		{"spares", fmt.Sprintf("%d idle models unloaded because another host had them too", s.Spares)},
	}
	for i, h := range s.Each {
		rows = append(rows, [2]string{fmt.Sprintf("host %d", i+1), fmt.Sprintf("%d decisions, %d requests, of which %d answered; %d loads, %d evictions, %d crashes", h.Decisions, h.Requests, h.Answered, h.Loads, h.Evictions, h.Crashes)})
	}
	return c.rows(append(rows, [2]string{"violations", cmp.Or(s.Violation, "none")}))
}

func (c *cli) rows(rows [][2]string) error {
	for _, row := range rows {
		if _, err := fmt.Fprintf(c.stdout, "%-15s %s\n", row[0], row[1]); err != nil {
			return err
		}
	}
	return nil
}
