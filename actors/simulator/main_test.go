package simulator

import (
	"flag"
	"os"
	"strconv"
	"testing"
	"time"

	"modelops/messages"
)

// simSteps is how many steps the rough worlds take together; `go test ./actors/simulator -sim.steps=5000000` looks longer.
var simSteps = flag.Int("sim.steps", 0, "steps of the rough worlds together; 0 = SIM_STEPS, else a short run")

const shortRun = 150_000

func stepsWanted(t *testing.T) int {
	t.Helper()
	if *simSteps > 0 {
		return *simSteps
	}
	if env := os.Getenv("SIM_STEPS"); env != "" {
		n, err := strconv.Atoi(env)
		if err != nil {
			t.Fatalf("SIM_STEPS: %v", err)
		}
		return n
	}
	if testing.Short() {
		return shortRun / 10
	}
	return shortRun
}

// small is a world that is crowded: five models of 4 to 16 GiB on two devices of 24 GiB.
func small(seed uint64) Options {
	return Options{Seed: seed, Devices: []uint64{24 * messages.GiB, 24 * messages.GiB}, Rate: 2, MaxWait: 30 * time.Second, Collation: 300 * time.Millisecond, Defrag: "auto", KeepWarm: 10 * time.Minute, ForeignPressure: seed%2 == 1, Faults: Rough(), Models: []Model{
		{Name: "a", Estimate: 4 * messages.GiB, Truth: 4 * messages.GiB, Load: time.Second, MinResidency: 15 * time.Second, Weight: 3},
		{Name: "b", Estimate: 8 * messages.GiB, Truth: 7 * messages.GiB, Load: 2 * time.Second, Idle: 5 * time.Second},
		{Name: "c", Estimate: 12 * messages.GiB, Truth: 13 * messages.GiB, Load: 4 * time.Second, MinResidency: 20 * time.Second},
		{Name: "d", Estimate: 16 * messages.GiB, Truth: 16 * messages.GiB, Load: 6 * time.Second},
		{Name: "e", Estimate: 14 * messages.GiB, Truth: 12 * messages.GiB, Load: 3 * time.Second, Groups: []string{"big"}},
		{Name: "f", Estimate: 15 * messages.GiB, Truth: 15 * messages.GiB, Load: 3 * time.Second, Groups: []string{"big"}, Places: 1},
		{Name: "g", Estimate: 20 * messages.GiB, Truth: 18 * messages.GiB, Load: 3 * time.Second, Shards: 2},
	}}
}

// paired is the small world on two hosts: the first has two devices, the second one.
func paired(seed uint64) Options {
	o := small(seed)
	o.Hosts, o.Devices, o.Rate = 2, append(o.Devices, o.Devices[0]), 3
	return o
}

// shared is the small world in which requests have classes, and all models share two places and a short queue. Calm sends a request to each model
// at once, and the queue has room for them.
func shared(seed uint64) Options {
	o := small(seed)
	o.Classes, o.HostPlaces, o.HostQueue = 3, 2, 2*len(o.Models)
	return o
}

// drowsy is the same world with a model that is put to sleep.
func drowsy(seed uint64) Options {
	o := small(seed)
	o.Models[1].Sleep = 2 * time.Second
	return o
}

// pairedReplicated is replicated on two hosts.
func pairedReplicated(seed uint64) Options {
	o := replicated(seed)
	o.Hosts, o.Devices, o.Rate = 2, append(o.Devices, o.Devices[0]), 3
	return o
}

// pairedDrowsy is pairedReplicated in which every worker is soon put to sleep, also one that is replaced or replaces another.
func pairedDrowsy(seed uint64) Options {
	o := pairedReplicated(seed)
	for i := range o.Models {
		o.Models[i].Sleep = time.Duration(1+i) * time.Second
	}
	o.Faults.Every = time.Second
	return o
}

// replicated is a world in which models have replicas, which come, go and are replaced. Collation would hide models that are busy only through their replicas.
func replicated(seed uint64) Options {
	o := small(seed)
	o.Collation = time.Duration(seed%2) * 300 * time.Millisecond
	o.Models = o.Models[:5]
	o.Models[0].MaxReplicas, o.Models[0].Places = 3, 2
	o.Models[1].MinReplicas, o.Models[1].MaxReplicas, o.Models[1].Idle, o.Models[1].Sleep = 2, 2, 20*time.Second, 5*time.Second
	o.Models[2].MaxReplicas, o.Models[2].Places = 2, 1
	return o
}
