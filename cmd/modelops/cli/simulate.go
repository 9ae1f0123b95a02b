package cli

import (
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
		Example: "  modelops simulate --seed 7 --steps 100000\n  modelops simulate --devices 24000,24000 --models 4000..20000x12 --policy lru --gentle --json",
	}
	f := cmd.Flags()
	f.Uint64Var(&s.seed, "seed", 1, "seed of all random numbers")
	f.IntVar(&s.steps, "steps", 20000, "number of steps")
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
	w := simulator.New(o)
	if err = w.Run(ctx, s.steps); err == nil {
		err = w.Calm(ctx)
	}
	var seen *simulator.Violation
	if err != nil && !errors.As(err, &seen) {
		return err
	}
	if err := c.printSimulation(w.Summary()); err != nil {
		return err
	}
	if seen != nil {
		return quietExit(exitNo)
	}
	return nil
}

func (s simulation) options() (simulator.Options, error) {
	o := simulator.Options{Seed: s.seed, Policy: s.policy, Rate: s.rate}
	if !s.gentle {
		o.Faults = simulator.Rough()
	}
	switch {
	case s.policy != "first_fit" && s.policy != "lru" && s.policy != "cost_aware":
		return o, messages.Errorf(messages.InvalidArgument, "--policy", "%q is not a policy", s.policy).WithHint("first_fit, lru or cost_aware")
	case !(s.rate > 0 && s.rate <= 1000): // not a number is neither
		return o, messages.NewError(messages.InvalidArgument, "--rate", "it must be above 0 and at most 1000")
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
	verdict := "none"
	if s.Violation != "" {
		verdict = s.Violation
	}
	for _, row := range [][2]string{
		{"seed", fmt.Sprint(s.Seed)},
		{"steps", fmt.Sprintf("%d in %s of virtual time, %d decisions", s.Steps, ms(int64(s.VirtualSeconds*1000)), s.Decisions)},
		{"requests", fmt.Sprintf("%d, of which %d answered and %d refused", s.Requests, s.Answered, s.Refused)},
		{"swaps", fmt.Sprintf("%d loads, %d evictions, %d out of memory", s.Loads, s.Evictions, s.OutOfMemory)},
		{"crashes", fmt.Sprintf("%d of the coordinator", s.Crashes)},
		{"waits", fmt.Sprintf("p50 %s, p99 %s, max %s; bound %s", ms(s.WaitP50MS), ms(s.WaitP99MS), ms(s.WaitMaxMS), ms(s.BoundMS))},
		{"devices in use", strings.Join(use, ", ")},
		{"violations", verdict},
	} {
		if _, err := fmt.Fprintf(c.stdout, "%-15s %s\n", row[0], row[1]); err != nil {
			return err
		}
	}
	return nil
}
